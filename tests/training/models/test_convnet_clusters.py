import numpy as np
import pytest
import torch

from tests.training.tiny import noise
from training.models.build import build_network
from training.models.config import ConvNetModel
from training.models.convnet_clusters import Centroids, ConvNetClusters
from training.models.inference import evaluating, route
from training.models.spec import ConvNetClustersSpec, read_spec


def network(version: int, clusters: tuple[int, ...] = (3, 2)) -> ConvNetClusters:
    spec = ConvNetClustersSpec(
        coarse_labels=tuple("abc"[: len(clusters)]),
        image_shape=(32, 32, 3),
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        model=ConvNetModel(channels=(4,) * 5, embedding=8, projection=6, version=version, experts=sum(clusters)),  # type: ignore[arg-type]
        clusters=clusters,
    )
    torch.manual_seed(0)
    built = build_network(read_spec(spec.model_dump(mode="json")))
    assert isinstance(built, ConvNetClusters)
    if isinstance(built.head, Centroids):
        built.head.centroids.normal_()
    return built.eval()


@pytest.mark.parametrize("version", [1, 2])
def test_routing_sums_to_one_and_gives_coarse_labels(version: int) -> None:
    model, images = network(version), noise(7, (32, 32, 3))
    routed = route(model, images.numpy(), hard=False)
    np.testing.assert_allclose(routed.routing.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(routed.coarse_probability[:, 0], routed.routing[:, :3].sum(axis=1), atol=1e-5)
    with evaluating(model):
        np.testing.assert_allclose(model.gate(images).numpy(), routed.routing, atol=1e-6)
        experts = np.stack([model.expert(index, images).numpy() for index in range(5)], axis=1)
    np.testing.assert_allclose(experts, routed.expert_probability, atol=1e-6)


def test_logits_are_cosines_over_the_temperature() -> None:
    head = network(2).head
    assert isinstance(head, Centroids)
    with torch.no_grad():
        features = torch.randn(5, 8)
        rows = head.projection(features).numpy()
        found = head(features).numpy()
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True) @ head.centroids.numpy().T / 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_one_coarse_label_is_certain() -> None:
    routed = route(network(2, (5,)), noise(3, (32, 32, 3)).numpy(), hard=False)
    assert (routed.expert_probability == 1).all()
