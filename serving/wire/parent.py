"""Ends a worker when its parent is killed; otherwise the worker would keep the port, with nothing to restart it."""

import ctypes
import signal
import sys

# Of Linux' prctl: the signal that a process gets when its parent ends.
SET_SIGNAL_OF_PARENTS_END = 1


def end_with_parent() -> None:
    """Make this process end, as by SIGTERM, when its parent ends in whatever way; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_SIGNAL_OF_PARENTS_END, signal.SIGTERM)
