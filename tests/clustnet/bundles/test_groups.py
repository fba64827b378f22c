import numpy as np
import pytest

from clustnet.bundles.groups import CoarseGrouping
from clustnet.errors import UserError


def test_the_second_group_is_the_positive_one() -> None:
    grouping = CoarseGrouping.from_mapping({"even": [0, 2], "odd": [1, 3]}, 4)
    assert grouping.labels == ("even", "odd")
    coarse = grouping.coarse(np.array([0, 1, 2, 3]))
    assert (coarse.tolist(), coarse.dtype) == ([0, 1, 0, 1], np.int64)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"all": [0, 1, 2]}, "exactly two groups of classes, but it names 1"),
        ({"a": [0], "b": [1], "c": [2]}, "exactly two groups of classes, but it names 3"),
        ({"a": [0, 1, 2], "b": []}, "group without classes"),
        ({"a": [0, 1], "b": [1, 2]}, r"each class from 0 to 2 once, but it lists \[0, 1, 1, 2\]"),
        ({"a": [0], "b": [1]}, r"each class from 0 to 2 once, but it lists \[0, 1\]"),
        ({"a": [0, 1], "b": [2, 3]}, r"each class from 0 to 2 once, but it lists \[0, 1, 2, 3\]"),
    ],
)
def test_groups_that_do_not_part_the_classes_are_refused(mapping: dict[str, list[int]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        CoarseGrouping.from_mapping(mapping, 3)
