"""The files of a worker's metrics, which do no harm when their disk is full."""

import logging
import os
from pathlib import Path

from prometheus_client import mmap_dict, values
from prometheus_client.mmap_dict import MmapedDict

# Beside its key: a length, padding, a value and a time.
MAX_ENTRY_BYTES = 4 + 8 + 16

logger = logging.getLogger("bentoml.clustnet")


class MetricsFile(MmapedDict):
    """A file of metrics that takes space before it uses it; without space metrics are not shown until there is some.

    prometheus_client only sets the length of its files. Whoever then writes where the disk has no space is killed.

    Args:
        filename: the file, which is made when it is needed.
    """

    def __init__(self, filename: str) -> None:
        self._fname = filename
        self._f = None  # type: ignore[assignment]
        self._positions: dict[str, int] = {}
        self._full = False

    def read_value(self, key: str) -> tuple[float, float]:
        """Return a metric's value and its time, zeros where it is not in the file."""
        if not self._holds(key):
            return 0.0, 0.0
        value, timestamp = super().read_value(key)  # type: ignore[no-untyped-call]
        return value, timestamp

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write a metric's value and its time; whoever counts keeps them as well, so that a later call makes up."""
        if self._holds(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _holds(self, key: str) -> bool:
        """Return whether a metric is in the file, or can be."""
        if key in self._positions:
            return True
        try:
            self._take_space(len(key.encode()) + MAX_ENTRY_BYTES)
        except OSError as error:
            self._report(error)
            return False
        self._full = False
        return True

    def _take_space(self, size: int) -> None:
        if self._f is None:
            _make(Path(self._fname))
            super().__init__(self._fname)
        capacity = self._capacity
        while capacity < self._used + size:
            capacity *= 2
        if capacity > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, capacity)

    def _report(self, error: OSError) -> None:
        """Log once that space is missing."""
        if not self._full:
            self._full = True
            logger.error("%s cannot grow (%s), so some metrics are not shown; free space.", self._fname, error.strerror)


def keep_space() -> None:
    """Have prometheus_client use ``MetricsFile``, where the system can take space."""
    if hasattr(os, "posix_fallocate"):
        values.MmapedDict = MetricsFile  # type: ignore[attr-defined, assignment]


def _make(path: Path) -> None:
    """Make a file with the space of a new one."""
    try:
        with path.open("a+b") as file:
            os.posix_fallocate(file.fileno(), 0, mmap_dict._INITIAL_MMAP_SIZE)
    except OSError:
        # An empty file could not be read with the others.
        path.unlink(missing_ok=True)
        raise
