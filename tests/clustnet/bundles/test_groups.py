from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.bundles.groups import ALL, UNKNOWN, CoarseGrouping
from clustnet.errors import UserError

CLASSES = ("cat", "dog", "ship", "7")

groupings = st.lists(st.integers(0, 3), min_size=1, max_size=12)


def grouping_of(coarse: Sequence[int]) -> CoarseGrouping:
    """Return the grouping in which class c has the coarse label ``coarse[c]``, labels without classes left out."""
    used = sorted(set(coarse))
    groups = tuple(tuple(c for c, label in enumerate(coarse) if label == wanted) for wanted in used)
    return CoarseGrouping(tuple(f"label {label}" for label in used), groups)


@pytest.mark.parametrize(
    ("mapping", "coarse"),
    [
        ({"everything": [0, 1, 2, 3]}, [0, 0, 0, 0]),
        ({"even": [0, 2], "odd": [1, 3]}, [0, 1, 0, 1]),
        ({"pets": ["dog", "cat"], "others": ["7", "ship"]}, [0, 0, 1, 1]),
        ({"ships": [2], "pets": ["cat", 1], "seven": [3]}, [1, 1, 0, 2]),
    ],
)
def test_coarse_labels_are_numbered_in_order(mapping: Mapping[str, Sequence[int | str]], coarse: list[int]) -> None:
    grouping = CoarseGrouping.from_mapping(mapping, CLASSES)
    assert grouping.labels == tuple(mapping)
    assert grouping.divided == (len(mapping) > 1)
    found = grouping.coarse(np.arange(4))
    assert (found.tolist(), found.dtype) == (coarse, np.int64)


@given(groupings)
def test_membership_is_the_coarse_label_of_classes(coarse: list[int]) -> None:
    grouping = grouping_of(coarse)
    membership = grouping.membership()
    assert (membership.shape, membership.dtype) == ((len(grouping.labels), len(coarse)), np.bool_)
    assert membership.sum(axis=0).tolist() == [1] * len(coarse)
    assert membership.argmax(axis=0).tolist() == grouping.coarse(np.arange(len(coarse))).tolist()


@given(groupings, st.data())
def test_names_and_numbers_give_one_grouping(coarse: list[int], data: st.DataObject) -> None:
    grouping, names = grouping_of(coarse), [f"class {index}" for index in range(len(coarse))]
    mapping = {
        label: [data.draw(st.sampled_from([index, names[index]])) for index in group]
        for label, group in zip(grouping.labels, grouping.groups, strict=True)
    }
    assert CoarseGrouping.from_mapping(mapping, names) == grouping


def test_unknown_classes_have_unknown_coarse_labels() -> None:
    halves = CoarseGrouping(("low", "high"), ((0,), (1,)))
    assert halves.coarse(np.array([1, UNKNOWN, 0])).tolist() == [1, UNKNOWN, 0]
    whole = CoarseGrouping.whole(2)
    assert (whole.labels, whole.divided) == ((ALL,), False)
    assert whole.coarse(np.array([1, UNKNOWN, 0])).tolist() == [0, 0, 0]
    assert CoarseGrouping.whole(0).membership().shape == (1, 0)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "coarse names no label; name at least one"),
        ({"a": [0, 1, 2, 3], "b": []}, "coarse gives the label 'b' no classes; give it at least one"),
        ({"a": [0, 1], "b": [1, 2, 3]}, "coarse lists the class 'dog' twice; list each class under one label"),
        ({"a": [0, "cat"], "b": [1, 2, 3]}, "coarse lists the class 'cat' twice"),
        ({"a": [0], "b": [1, 2]}, "coarse lists the class '7' under no label"),
        ({"a": [0, 1], "b": [2, 3, 4]}, r"names the class 4, but the classes are cat, dog, ship, 7; .* or 0 to 3\.$"),
        ({"a": [-1]}, "names the class -1, but"),
        ({"a": ["cow"]}, "names the class 'cow', but the classes are cat"),
    ],
)
def test_groups_that_miss_or_repeat_classes_are_refused(
    mapping: Mapping[str, Sequence[int | str]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        CoarseGrouping.from_mapping(mapping, CLASSES)


def test_grouping_needs_known_classes() -> None:
    with pytest.raises(UserError, match="names the class 'cat', but the data name no classes; leave coarse out"):
        CoarseGrouping.from_mapping({"pets": ["cat"]}, ())
