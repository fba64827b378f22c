import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mutual_info_score

from tests.training.tiny import noise
from training.data.data import CoarseData
from training.models.config import MixtureModel
from training.models.inference import route
from training.models.mixture import MixtureOfExperts, MixtureOutput
from training.recipe.recipe import Augmentation
from training.runs.label_free import LabelFree, describe, label_free

APART = np.eye(3, dtype=np.float32) / 3
ONE_IDLE = np.diag([0.5, 0.5, 0.0])
SPLIT = np.array([[0.2, 0.1, 0], [0.1, 0.2, 0], [0, 0, 0.4]])
ONE_CELL = np.diag([1.0, 0.0, 0.0])
UNSTABLE = np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.2]])
NAMES = ("low", "high", "top")


def figures(*joint: np.ndarray) -> LabelFree:
    accuracy = 0.99 if len(joint) > 1 else None
    return LabelFree(100, accuracy, -0.02, (1.0, 0.9, 0.8)[: len(joint)], np.stack(joint).astype(np.float32))


def data_of(images: int, labels: int, shape: tuple[int, ...] = (28, 28)) -> CoarseData:
    channels = 3 if len(shape) == 3 else 1
    coarse = torch.arange(images) % labels
    return CoarseData(noise(images, shape), coarse, NAMES[:labels], (0.5,) * channels, (0.3,) * channels)


def model_of(data: CoarseData, certainty: float = 1) -> MixtureOfExperts:
    torch.manual_seed(0)
    part = MixtureModel(experts=3, channels=(4, 8), embedding=16)
    model = MixtureOfExperts(part, data.images.shape[1:], data.mean, data.std, data.label_count)
    with torch.no_grad():
        model.head.weight *= certainty
    return model


@pytest.mark.parametrize("shape", [(28, 28), (20, 24, 3)])
@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("hard", [False, True])
def test_the_likelihood_is_scikit_learns_log_loss(hard: bool, labels: int, shape: tuple[int, ...]) -> None:
    data = data_of(120, labels, shape)
    model = model_of(data)
    found = label_free(model, data, Augmentation(), hard)
    probability = route(model, data.images.numpy(), hard).coarse_probability
    probability /= probability.sum(axis=1, keepdims=True)
    assert found.log_likelihood == pytest.approx(-log_loss(data.coarse.numpy(), probability), abs=1e-5)
    assert found.coarse_accuracy == (probability.argmax(axis=1) == data.coarse.numpy()).mean()
    assert found.row()["label_free/coarse_accuracy"] == found.coarse_accuracy
    assert found.images == 120


def test_one_coarse_label_has_no_accuracy() -> None:
    data = data_of(50, 1)
    found = label_free(model_of(data), data, Augmentation(), hard=False)
    assert found.coarse_accuracy is None
    assert found.log_likelihood == pytest.approx(0, abs=1e-6)
    assert set(found.row()) == {"label_free/score", "label_free/mutual_information"}


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_sure_routing_has_its_experts_mutual_information(labels: int) -> None:
    """Without augmentation the view is the image, so that it is the experts' entropy, as in scikit-learn."""
    data = data_of(200, labels)
    # So sure that each image goes to one expert.
    model = model_of(data, 1_000_000)
    experts = route(model, data.images.numpy(), hard=False).routing.argmax(axis=1)
    found = label_free(model, data, Augmentation(), hard=False)
    assert len(found.mutual_information) == labels
    for group, value in enumerate(found.mutual_information):
        chosen = experts[data.coarse.numpy() == group]
        assert value == pytest.approx(mutual_info_score(chosen, chosen), abs=1e-3)
    assert found.score == pytest.approx(found.log_likelihood + sum(found.mutual_information))


@pytest.mark.parametrize(
    ("shape", "keys"),
    [((28, 28), {"rotation": 90, "shift": 0.5}), ((20, 24, 3), {"crop": 0.8, "flip": 0.5, "hue": 0.5})],
)
def test_views_lower_it_and_repeat(shape: tuple[int, ...], keys: dict[str, float]) -> None:
    plain, changed, data = Augmentation(), Augmentation.model_validate(keys), data_of(100, 2, shape)
    # So sure that a view can change much.
    model = model_of(data, 100)
    before = torch.random.get_rng_state()
    first, second = (label_free(model, data, changed, hard=False) for _ in range(2))
    assert first.mutual_information == second.mutual_information
    unchanged = label_free(model, data, plain, hard=False)
    assert sum(first.mutual_information) < sum(unchanged.mutual_information)
    # It is measured on the images themselves.
    assert first.log_likelihood == unchanged.log_likelihood
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training


def test_a_group_without_images_counts_nothing() -> None:
    data = replace(data_of(50, 3), coarse=torch.arange(50) % 2)
    found = label_free(model_of(data), data, Augmentation(), hard=False)
    assert found.mutual_information[2] == pytest.approx(0, abs=1e-5)
    assert math.isfinite(found.score)


@pytest.mark.parametrize(("labels", "where"), [(1, ""), (2, " in every group"), (3, " in every group")])
@pytest.mark.parametrize("joint", [APART, ONE_IDLE, SPLIT], ids=["apart", "one idle", "split"])
def test_cells_may_be_idle_or_share_classes(joint: np.ndarray, labels: int, where: str) -> None:
    found = figures(*[joint] * labels)
    assert found.collapsed(NAMES[:labels], (3,) * labels) == []
    text = describe(found, NAMES[:labels], (3,) * labels, held_out=False)
    assert text.splitlines()[-1] == f"the images are spread over stable cells{where}"
    assert "collapse" not in text


@pytest.mark.parametrize(
    ("joint", "clusters", "expected"),
    [
        ([ONE_CELL], (3,), "the images are spread as over 1.0 of 3 cells, so classes are merged"),
        (
            [APART, ONE_CELL],
            (3, 3),
            "in group high the images are spread as over 1.0 of 3 cells, so classes are merged",
        ),
        # As many clusters as were requested.
        ([APART, ONE_CELL], (3, 1), None),
    ],
)
def test_collapse_is_described_in_words(
    joint: list[np.ndarray], clusters: tuple[int, ...], expected: str | None
) -> None:
    found, labels = figures(*joint), NAMES[: len(joint)]
    assert found.collapsed(labels, clusters) == ([] if expected is None else [expected])
    assert (f"collapse: {expected}" if expected else "stable cells") in describe(found, labels, clusters, False)


def test_cells_that_views_leave_are_no_collapse() -> None:
    found = figures(UNSTABLE, APART, APART)
    text = describe(found, NAMES, (3, 3, 3), held_out=False)
    assert text.splitlines()[-1] == (
        "in group low only 40% of the images meet a random view of themselves at the same expert, so a cell may hold "
        "several classes"
    )
    assert "collapse" not in text


class Posterior(MixtureOfExperts):
    """A gate that is given: the cluster that an image's first pixel names, with a low probability."""

    clusters: int

    def route_embedded(self, pixels: torch.Tensor, embeddings: torch.Tensor) -> MixtureOutput:
        number = (self.normalise.mean.view(1, -1) + pixels[:, 0, 0, :1] * self.normalise.std.view(1, -1)) * 255
        cluster = number.round().long().squeeze(1)
        routing = torch.full((len(pixels), self.clusters), 1.0).scatter_(1, cluster[:, None], 3.0)
        return MixtureOutput(
            (routing / routing.sum(dim=1, keepdim=True)).log(), torch.zeros(len(pixels), self.clusters, 0)
        )


@pytest.mark.parametrize(
    ("clusters", "used", "word"), [(10, 10, False), (10, 1, True), (10, 3, True), (200, 90, False), (200, 2, True)]
)
def test_word_collapse_comes_with_collapse_alone(clusters: int, used: int, word: bool) -> None:
    """The routing is soft, as of Student's t or hundreds of clusters, and yet each image has its cluster."""
    data = data_of(1_000, 1)
    data.images[:, 0, 0] = (torch.arange(1_000) % used).to(torch.uint8)
    model = Posterior(MixtureModel(experts=3), (28, 28), data.mean, data.std, 1)
    model.clusters = clusters
    found = label_free(model, data, Augmentation(), hard=False)
    text = describe(found, data.labels, (clusters,), held_out=False)
    assert ("collapse" in text) == word


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (1, "score 0.9800: mutual information 1.0000 of at most 1.10 nats (100 training images)"),
        (
            2,
            "score 1.8800: mutual information 1.9000 of at most 2.20 nats, log-likelihood -0.0200, coarse accuracy "
            "0.9900 (100 training images)",
        ),
    ],
)
def test_the_description_names_the_images(labels: int, expected: str) -> None:
    found, names, clusters = figures(*[APART] * labels), NAMES[:labels], (3,) * labels
    assert describe(found, names, clusters, held_out=False).splitlines()[0] == f"label-free {expected}"
    assert "(100 validation images)" in describe(found, names, clusters, held_out=True)
