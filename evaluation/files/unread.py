"""What could not be read of the evaluated files: all faults are counted, and the first are listed."""

import heapq
from dataclasses import dataclass
from typing import NamedTuple

from clustnet.files import shown

MAX_LISTED = 1000
# The table in the report's folder that lists them.
UNREAD = "unread.csv"


class Fault(NamedTuple):
    """Something that could not be read.

    Args:
        place: the place of its first image among all images.
        file: the file; listed as it is shown.
        rows: the rows of a Parquet file, such as ``7`` or ``7 to 12``; empty for a whole file.
        reason: why it could not be read.
    """

    place: int
    file: str
    rows: str
    reason: str


@dataclass(frozen=True)
class UnreadImages:
    """Faults, which add up in whatever order they come.

    Args:
        total: how many there were.
        listed: the first ``MAX_LISTED`` of them, in the order of the images.
    """

    total: int = 0
    listed: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, faults: list[Fault]) -> "UnreadImages":
        """Return the number of the faults and the first of them."""
        readable = [fault._replace(file=shown(fault.file), reason=shown(fault.reason)) for fault in faults]
        return cls(len(faults), tuple(heapq.nsmallest(MAX_LISTED, readable)))

    def __add__(self, other: "UnreadImages") -> "UnreadImages":
        listed = heapq.nsmallest(MAX_LISTED, [*self.listed, *other.listed])
        return UnreadImages(self.total + other.total, tuple(listed))
