"""Coarse groupings: which fine classes hide behind which coarse label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError


@dataclass(frozen=True)
class CoarseGrouping:
    """Two named groups of fine classes; the second is the positive one.

    Args:
        labels: the two coarse labels, for example ``("0-4", "5-9")``.
        groups: for each coarse label the fine classes behind it.
    """

    labels: tuple[str, str]
    groups: tuple[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Sequence[int]], classes: int) -> "CoarseGrouping":
        """Build a grouping from ``{label: [fine class, ...]}`` over fine classes 0 to classes - 1.

        Raises:
            UserError: not two groups, an empty one, a class that is unknown, repeated or left out.
        """
        if len(mapping) != 2:
            raise UserError(f"coarse must name exactly two groups of classes, but it names {len(mapping)}.")
        listed = [fine for group in mapping.values() for fine in group]
        expected = set(range(classes))
        if any(not group for group in mapping.values()):
            raise UserError("coarse holds a group without classes; give each group at least one class.")
        if len(listed) != len(set(listed)) or set(listed) != expected:
            raise UserError(f"coarse must list each class from 0 to {classes - 1} once, but it lists {sorted(listed)}.")
        (first, a), (second, b) = mapping.items()
        return cls((first, second), (tuple(a), tuple(b)))

    def coarse(self, fine: NDArray[np.integer]) -> NDArray[np.int64]:
        """Map fine classes [N] to coarse labels [N], 0 or 1."""
        return np.isin(fine, self.groups[1]).astype(np.int64)
