"""Processes: whether one is alive, and how one ends with its parent."""

import ctypes
import os
import signal
import sys

# The option of Linux' prctl that sets the signal that a process gets when its parent ends.
SET_SIGNAL_OF_PARENTS_END = 1


def end_with_parent() -> None:
    """Have this process receive SIGTERM when its parent ends in any way; only Linux supports this.

    Otherwise the worker of a parent that is killed would keep the port, and a trial might go on for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_SIGNAL_OF_PARENTS_END, signal.SIGTERM)


def lives(process: int) -> bool:
    """Return whether there is a process with this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # It is another user's.
        return True
    return True
