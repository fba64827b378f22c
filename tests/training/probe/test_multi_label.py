import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clustnet.datasets.multi_label import MultiLabelImages, load_multi_label
from tests.training.probe.test_activations import SPEC
from tests.training.tiny import noise
from training.models.build import build_network
from training.models.convnet_clusters import ConvNetClusters
from training.probe import multi_label
from training.probe.multi_label import mean_average_precision, scores, tune

DATA = Path(os.environ.get("CLUSTNET_TEST_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
COCO = DATA / "coco256" / "coco256_multilabel.npz"


def average_precision(found: Any, truth: Any) -> float:
    """The area under precision against recall, written out: the mean precision at the ranks of positive images."""
    order = truth[np.argsort(-found)]
    ranks = np.flatnonzero(order) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def test_mean_average_precision_is_the_plain_one() -> None:
    generator = np.random.default_rng(0)
    found, labels = generator.normal(size=(60, 4)).astype(np.float32), generator.integers(-1, 2, (60, 4))
    # Without a positive image a class has no precision.
    labels[:, 3] = 0
    expected = [
        average_precision(found[labels[:, place] >= 0, place], labels[labels[:, place] >= 0, place])
        for place in range(3)
    ]
    assert mean_average_precision(found, labels) == pytest.approx(np.mean(expected), abs=1e-6)


def photographs(images: int) -> MultiLabelImages:
    """A bright left half is one label, a bright upper half another."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (images, 2))
    pixels = noise(images, (18, 24, 3)).numpy() // 4
    for image, (reddish, bluish) in zip(pixels, labels, strict=True):
        image[..., 0] += 150 * reddish.astype(np.uint8)
        image[..., 2] += 150 * bluish.astype(np.uint8)
    return MultiLabelImages("toy", "train", tuple(pixels), labels, ("red", "blue"))


@pytest.mark.parametrize("layers", ["fc", "all"])
def test_labels_are_learnt(layers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_label, "EPOCHS", 8)
    torch.manual_seed(0)
    network, images = build_network(SPEC), photographs(64)
    assert isinstance(network, ConvNetClusters)
    before = network.state_dict()["encoder.convolutions.0.weight"].clone()
    module = tune(network, images, layers, 16, 0)
    assert mean_average_precision(scores(module, images.images, 16), images.labels) > 0.9
    assert torch.equal(network.state_dict()["encoder.convolutions.0.weight"], before)
    assert torch.equal(module.state_dict()["1.convolutions.0.weight"], before) == (layers == "fc")


def test_ten_crops_are_averaged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 22, 3), dtype=np.uint8)

    class Corner(torch.nn.Module):
        """The first pixel of each crop, which says where it was cut."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, crops: torch.Tensor) -> torch.Tensor:
            return crops[:, 0, 0].float() * self.weight

    corners = [(0, 0), (0, 6), (4, 0), (4, 6), (2, 3)]
    pixels = [image[top, left + flip * 15] for top, left in corners for flip in (0, 1)]
    np.testing.assert_allclose(scores(Corner(), [image], 16)[0], np.mean(pixels, axis=0), rtol=1e-5)


@pytest.mark.skipif(not COCO.is_file(), reason="needs coco256 below CLUSTNET_TEST_DATA")
def test_the_real_archive_is_scored() -> None:
    torch.manual_seed(0)
    network, test = build_network(SPEC).eval(), load_multi_label("coco256", "test", COCO, 18)
    assert (len(test.images), test.labels.shape) == (128, (128, 80))
    module = torch.nn.Sequential(network.normalise, network.encoder, torch.nn.Linear(5, 80))
    found = mean_average_precision(scores(module, test.images, 16), test.labels)
    assert 0 < found < 0.2
