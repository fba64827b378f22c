"""Coarse groupings: which classes belong to which coarse label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError

# The single coarse label of data that have none of their own.
ALL = "all"
# The class or coarse label of an image for which it is not known.
UNKNOWN = -1


@dataclass(frozen=True)
class CoarseGrouping:
    """K named groups that together contain each class exactly once.

    Args:
        labels: the K coarse labels, for example ``("0-4", "5-9")``; ``("all",)`` for data without coarse labels.
        groups: the indices of the classes of each coarse label.
    """

    labels: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def whole(cls, classes: int) -> "CoarseGrouping":
        """Return a single group of all classes, 0 to classes - 1, for data without coarse labels."""
        return cls((ALL,), (tuple(range(classes)),))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Sequence[int | str]], classes: Sequence[str]) -> "CoarseGrouping":
        """Return the grouping that ``{label: [class, ...]}`` describes.

        Args:
            mapping: one or more coarse labels, each with its classes by name or by number from 0.
            classes: the names of all classes.

        Raises:
            UserError: there is no label, a label has no classes, or a class is unknown, repeated or missing.
        """
        if not mapping:
            raise UserError("coarse names no label; name at least one, as in {low: [0, 1], high: [2, 3]}.")
        for label, group in mapping.items():
            if not group:
                raise UserError(f"coarse gives the label {label!r} no classes; give it at least one.")
        groups = tuple(tuple(_class_index(named, classes) for named in group) for group in mapping.values())
        _check_each_once([index for group in groups for index in group], classes)
        return cls(tuple(mapping), groups)

    @property
    def divided(self) -> bool:
        """Whether there is more than one coarse label."""
        return len(self.labels) > 1

    def coarse(self, fine: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the coarse label of each class [N], int64 [N], 0 to K - 1.

        ``UNKNOWN`` stays ``UNKNOWN``, except with a single coarse label, which every image has.
        """
        if not self.divided:
            return np.zeros(len(fine), np.int64)
        coarse = np.full(len(fine), UNKNOWN, np.int64)
        for label, group in enumerate(self.groups):
            coarse[np.isin(fine, group)] = label
        return coarse

    def membership(self) -> NDArray[np.bool_]:
        """Return whether each class belongs to each coarse label, bool [K, C]."""
        classes = sum(len(group) for group in self.groups)
        return np.array([np.isin(np.arange(classes), group) for group in self.groups])


def _class_index(named: int | str, classes: Sequence[str]) -> int:
    """Return the index of a class given by name or number."""
    if isinstance(named, str) and named in classes:
        return list(classes).index(named)
    if isinstance(named, int) and 0 <= named < len(classes):
        return named
    if not classes:
        raise UserError(
            f"coarse names the class {named!r}, but the data name no classes; leave coarse out, or name them."
        )
    known = ", ".join(classes)
    raise UserError(
        f"coarse names the class {named!r}, but the classes are {known}; use these names, or 0 to {len(classes) - 1}."
    )


def _check_each_once(indices: Sequence[int], classes: Sequence[str]) -> None:
    """Raise if a class is in no group or in several."""
    for index, name in enumerate(classes):
        if indices.count(index) != 1:
            how = "twice" if indices.count(index) else "under no label"
            raise UserError(f"coarse lists the class {name!r} {how}; list each class under one label.")
