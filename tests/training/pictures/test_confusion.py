import dataclasses

import numpy as np
import pytest

from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.scores.scores import clustering_accuracy
from training.pictures.confusion import confusions, draw_confusion

CLASSES = ("ant", "bee", "cat", "dog", "eel")


def labelled(count: int = 200, seed: int = 0) -> LabelledImages:
    """Images of five classes, the first two of the coarse label ``insect``."""
    fine = np.random.default_rng(seed).integers(0, 5, count)
    coarse = (fine >= 2).astype(np.int64)
    images = np.zeros((count, 4, 4), np.uint8)
    return LabelledImages("made", "test", images, coarse, ("insect", "other"), fine, CLASSES, (0.5,), (0.5,))


@pytest.mark.parametrize("experts", [2, 5, 9])
def test_diagonal_is_matched_accuracy(experts: int) -> None:
    images = labelled()
    found = np.random.default_rng(1).integers(0, experts, len(images))
    for one, label in zip(confusions(images, found, experts), (0, 1), strict=True):
        own = images.coarse == label
        assert one.matched == pytest.approx(clustering_accuracy(found[own], images.fine[own]))
        assert one.images == own.sum()
        assert one.counts.sum() == own.sum()


def test_classes_and_experts_meet_on_diagonal() -> None:
    images = labelled()
    experts = np.array([3, 0, 2, 1, 4])[images.fine]
    insects, others = confusions(images, experts, 6)
    assert (insects.classes, insects.experts.tolist()) == (["ant", "bee"], [3, 0])
    assert (others.classes, others.experts.tolist()) == (["cat", "dog", "eel"], [2, 1, 4])
    assert (insects.matched, others.matched) == (1, 1)


def test_images_without_a_class_do_not_count() -> None:
    images = labelled()
    half = dataclasses.replace(images, fine=np.where(np.arange(200) < 100, images.fine, UNKNOWN))
    assert sum(one.images for one in confusions(half, np.zeros(200, np.int64), 3)) == 100
    none = dataclasses.replace(images, fine=np.full(200, UNKNOWN))
    assert confusions(none, np.zeros(200, np.int64), 3) == []


def test_shares_are_written_in_percent() -> None:
    images = labelled()
    figure = draw_confusion(confusions(images, np.where(images.fine == 4, 1, 0), 2), 7)
    first, second = figure.axes
    largest = max(np.bincount(images.fine)[:2]) / (images.fine < 2).sum()
    assert first.get_title() == f"insect: {largest:.1%} on the diagonal"
    assert {text.get_text() for text in second.texts} == {"100"}
    assert [label.get_text() for label in second.get_yticklabels()][-1] in CLASSES
    assert figure.get_suptitle() == "Epoch 7"
