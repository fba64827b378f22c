import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets.labelled import UNKNOWN, LabelledImages
from clustnet.errors import UserError

CLASSES = ("cat", "dog", "ship")
PETS = CoarseGrouping.from_mapping({"pets": ["cat", "dog"], "others": ["ship"]}, CLASSES)


def labelled(fine: list[int], classes: tuple[str, ...] = CLASSES) -> LabelledImages:
    """Return images whose first pixel is their number, under the one coarse label of a benchmark set."""
    images = np.zeros((len(fine), 4, 4), np.uint8)
    images[:, 0, 0] = np.arange(len(fine))
    return LabelledImages.of_classes("made up", "train", images, np.array(fine, np.int64), classes, (0.5,), (0.5,))


def test_a_benchmark_set_has_one_coarse_label() -> None:
    data = labelled([2, 0, 1])
    assert (data.coarse_labels, data.coarse.tolist(), data.coarse.dtype) == (("all",), [0, 0, 0], np.int64)
    assert data.files is None
    assert len(data) == 3


@pytest.mark.parametrize(
    ("fine", "classes", "known"),
    [([2, 0], CLASSES, True), ([2, UNKNOWN], CLASSES, False), ([UNKNOWN], (), False), ([], (), False)],
)
def test_labelled_means_every_class_is_known(fine: list[int], classes: tuple[str, ...], known: bool) -> None:
    assert labelled(fine, classes).labelled == known


@given(st.lists(st.integers(UNKNOWN, 2), max_size=9), st.data())
def test_taking_images_takes_all_of_them(fine: list[int], data: st.DataObject) -> None:
    whole = labelled(fine).grouped(CoarseGrouping(("any",), ((0, 1, 2),)))
    indices = np.array(data.draw(st.lists(st.sampled_from(range(len(fine))) if fine else st.nothing())), np.int64)
    some = whole.take(indices)
    assert some.images[:, 0, 0].tolist() == indices.tolist()
    assert some.fine.tolist() == [fine[index] for index in indices]
    assert some.coarse.tolist() == [0] * len(indices)
    assert some.coarse_labels == ("any",)
    count = data.draw(st.none() | st.integers(0, 12))
    assert whole.first(count).fine.tolist() == fine[:count]


@given(st.lists(st.integers(0, 2), max_size=9))
def test_grouping_follows_the_classes(fine: list[int]) -> None:
    data = labelled(fine).grouped(PETS)
    assert (data.coarse_labels, data.coarse.tolist()) == (("pets", "others"), [int(c == 2) for c in fine])
    assert (data.fine.tolist(), data.classes) == (fine, CLASSES)


def test_unknown_classes_cannot_be_grouped() -> None:
    data = labelled([0, UNKNOWN, 2, UNKNOWN])
    with pytest.raises(UserError, match="but the class of 2 train images is unknown; sort every image"):
        data.grouped(PETS)
    assert data.grouped(CoarseGrouping.whole(3)).coarse.tolist() == [0] * 4
