"""What could not be read of the evaluated files: all of it is counted, the first of it is listed."""

import heapq
from dataclasses import dataclass
from typing import NamedTuple

LISTED = 1000
UNREAD = "unread.csv"  # lists them in the report's folder


class Fault(NamedTuple):
    """Something that could not be read: its place among all images, where that is in words, and why."""

    place: int
    where: str
    reason: str


@dataclass(frozen=True)
class Unread:
    """Faults, which add up in whatever order they come.

    Args:
        total: how many there were.
        listed: the first ``LISTED`` of them, in the order of the images.
    """

    total: int = 0
    listed: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, faults: list[Fault]) -> "Unread":
        """Count the faults and keep the first."""
        return cls(len(faults), tuple(heapq.nsmallest(LISTED, faults)))

    def __add__(self, other: "Unread") -> "Unread":
        listed = heapq.nsmallest(LISTED, [*self.listed, *other.listed])
        return Unread(self.total + other.total, tuple(listed))
