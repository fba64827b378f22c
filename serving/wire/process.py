"""What a worker needs of the system: an end with its parent, and descriptors for many connections."""

import ctypes
import resource
import signal
import sys

# Of Linux' prctl: the signal that a process gets when its parent ends.
SET_SIGNAL_OF_PARENTS_END = 1
# Of a worker, where the system allows as many; a silent connection costs one and some 10 KB.
MAX_DESCRIPTORS = 16_384


def end_with_parent() -> None:
    """Make this process end, as by SIGTERM, when its parent ends in whatever way; only Linux can.

    Otherwise the worker of a parent that is killed would keep the port, with nothing to restart it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_SIGNAL_OF_PARENTS_END, signal.SIGTERM)


def raise_descriptor_limit() -> None:
    """Raise the usual limit of 1,024 connections of this process, which idle ones would use up."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if most == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
