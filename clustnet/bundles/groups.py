"""Coarse groupings: which fine classes hide behind which coarse label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError

WHOLE = "all"  # the label of the one group where there are no coarse labels


@dataclass(frozen=True)
class CoarseGrouping:
    """Two named groups of fine classes, the second being the positive one; or one of all, for no coarse labels.

    Args:
        labels: the two coarse labels, for example ``("0-4", "5-9")``, or ``("all",)``.
        groups: for each coarse label the fine classes behind it.
    """

    labels: tuple[str, str] | tuple[str]
    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def whole(cls, classes: int) -> "CoarseGrouping":
        """Return the one group of all fine classes, 0 to classes - 1, where there are no coarse labels."""
        return cls((WHOLE,), (tuple(range(classes)),))

    @property
    def divided(self) -> bool:
        """Whether there are coarse labels."""
        return len(self.labels) == 2

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
        """Map fine classes [N] to coarse labels [N], 0 or 1; all 0 where there is one group."""
        positive = self.groups[1] if self.divided else ()
        return np.isin(fine, positive).astype(np.int64)
