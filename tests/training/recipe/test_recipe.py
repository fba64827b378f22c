from pathlib import Path

import pytest

from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets import CLASSES
from clustnet.errors import UserError
from tests.image_folder import write_coarse_folder
from training.recipe.recipe import Data


def test_mnist_comes_with_two_coarse_labels() -> None:
    grouping = Data().grouping(CLASSES["mnist"])
    assert grouping is not None
    assert grouping.labels == Data().known_labels() == ("0-4", "5-9")
    assert Data().class_counts(grouping.labels) == [5, 5]


def test_null_is_one_coarse_label() -> None:
    assert Data(coarse=None).grouping(["a", "b"]) == CoarseGrouping.whole(2)
    assert Data(coarse=None).known_labels() == ("all",)


@pytest.mark.parametrize("classes", [[[0, 2], [1]], [["a", "c"], ["b"]], [["a", 2], [1]]])
def test_classes_are_grouped_by_name_or_number(classes: list[list[int | str]]) -> None:
    data = Data(coarse=dict(zip(("first", "second"), classes, strict=True)))
    assert data.grouping(["a", "b", "c"]) == CoarseGrouping(("first", "second"), ((0, 2), (1,)))
    assert data.known_labels() == ("first", "second")
    assert data.class_counts(("first", "second")) == [2, 1]


def test_sub_folders_are_the_labels_given(tmp_path: Path) -> None:
    data = Data(name="folder", path=write_coarse_folder(tmp_path / "bars", images=2))
    assert data.grouping([]) is None
    assert data.known_labels() == ("blue", "green", "red")
    assert data.class_counts(("blue", "green", "red")) == [1, 1, 1]
    assert Data(name="folder").known_labels() is None


@pytest.mark.parametrize("name", ["cifar10", "notmnist", "coil20"])
def test_other_sets_come_without_coarse_labels(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} comes without coarse labels; group its classes, as in"):
        Data(name=name).grouping(CLASSES[name])
