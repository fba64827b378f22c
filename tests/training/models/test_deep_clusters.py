import pytest
import torch

from tests.training.deep import ARCHITECTURE
from tests.training.tiny import noise
from training.losses.student_t import soft_assignment
from training.models.architecture import parse_architecture
from training.models.deep_clusters import DeepClusters
from training.models.mixture import coarse_probability

COUNTS = [(4,), (2, 3), (1, 2, 3)]


def deep_clusters(counts: tuple[int, ...]) -> DeepClusters:
    torch.manual_seed(0)
    model = DeepClusters(parse_architecture(ARCHITECTURE, "here"), counts, (0.13,), (0.31,))
    model.centroids.data.normal_()
    return model.eval()


@pytest.mark.parametrize("counts", COUNTS)
@torch.no_grad()
def test_each_expert_predicts_its_clusters_coarse_label(counts: tuple[int, ...]) -> None:
    model, images = deep_clusters(counts), noise(5)
    expected = [label for label, count in enumerate(counts) for _ in range(count)]
    found = coarse_probability(model(images).expert_logit)
    assert found.shape == (5, sum(counts), len(counts))
    for index, label in enumerate(expected):
        torch.testing.assert_close(model.expert(index, images), torch.eye(len(counts))[label].expand(5, -1))
        torch.testing.assert_close(found[:, index], torch.eye(len(counts))[label].expand(5, -1))


@pytest.mark.parametrize("counts", COUNTS)
@torch.no_grad()
def test_the_routing_is_the_soft_assignment(counts: tuple[int, ...]) -> None:
    model, images = deep_clusters(counts), noise(5)
    expected = soft_assignment(model.embed(images), model.centroids)
    torch.testing.assert_close(model.gate(images), expected)
    torch.testing.assert_close(model(images).log_routing.exp(), expected)


def test_another_number_of_clusters_has_one_label() -> None:
    model = deep_clusters((4,))
    model.resize(7)
    assert model(noise(2)).expert_logit.shape == (2, 7, 0)
    assert model.cluster_labels.tolist() == [0] * 7
