"""The tree of merges: the two nearest subtypes of a coarse label are merged repeatedly until one is left.

The distance between two subtypes is that between their means, in units of how far their images lie from these means, so
that subtypes which overlap are near in any space.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class Merge(NamedTuple):
    """A merge of two subtypes into one.

    Args:
        coarse: their coarse label.
        step: number of the merge within the coarse label, from 1.
        first: name of the larger one, a subtype or an earlier merge.
        second: name of the other.
        merged: name of the merge, as in ``ok/+1``.
        distance: distance between the two.
        images: number of images of both together.
        left: how many subtypes the coarse label has after the merge.
    """

    coarse: str
    step: int
    first: str
    second: str
    merged: str
    distance: float
    images: int
    left: int


@dataclass(frozen=True)
class Group:
    """The size, mean and spread of the images of a subtype or a merge.

    Args:
        name: name of the subtype or merge.
        images: number of images.
        mean: float64 [D].
        spread: mean squared distance of the images from the mean.
    """

    name: str
    images: int
    mean: NDArray[np.float64]
    spread: float

    @classmethod
    def of(cls, name: str, rows: Floats) -> "Group":
        """Return the group of rows [N, D], at least one."""
        mean = rows.mean(axis=0, dtype=np.float64)
        return cls(name, len(rows), mean, float(((rows - mean) ** 2).sum(axis=1).mean()))

    def distance(self, other: "Group") -> float:
        """Return how far apart two groups are, in units of their spread."""
        apart = float(((self.mean - other.mean) ** 2).sum())
        return math.sqrt(apart / max((self.spread + other.spread) / 2, 1e-12))

    def merged(self, other: "Group", name: str) -> "Group":
        """Return the group of the images of both."""
        images = self.images + other.images
        mean = (self.images * self.mean + other.images * other.mean) / images
        shifts = [(group.images, group.spread + float(((group.mean - mean) ** 2).sum())) for group in (self, other)]
        return Group(name, images, mean, sum(count * spread for count, spread in shifts) / images)


def groups(rows: Floats, clusters: Labels, names: Sequence[str]) -> list[Group]:
    """Return the group of each subtype that has an image.

    Args:
        rows: float32 [N, D], the images of one coarse label.
        clusters: int64 [N], indices into ``names``.
        names: names of the subtypes.
    """
    return [Group.of(name, rows[clusters == place]) for place, name in enumerate(names) if (clusters == place).any()]


def merge_tree(label: str, found: Sequence[Group]) -> list[Merge]:
    """Return the merges of a coarse label's subtypes, one fewer than there are subtypes, the nearest first."""
    left, merges = list(found), list[Merge]()
    while len(left) > 1:
        pairs = [(left[one].distance(left[other]), one, other) for one, other in combinations(range(len(left)), 2)]
        distance, *places = min(pairs)
        one, other = sorted((left[place] for place in places), key=lambda group: -group.images)
        merged = one.merged(other, f"{label}/+{len(merges) + 1}")
        left = [group for place, group in enumerate(left) if place not in places] + [merged]
        merges.append(
            Merge(label, len(merges) + 1, one.name, other.name, merged.name, distance, merged.images, len(left))
        )
    return merges


def nearest(found: Sequence[Group]) -> dict[str, tuple[str, float]]:
    """Return for each subtype the nearest other one of its coarse label, and the distance to it."""
    near = {}
    for group in found:
        others = [(group.distance(other), other.name) for other in found if other is not group]
        if others:
            distance, name = min(others)
            near[group.name] = (name, distance)
    return near
