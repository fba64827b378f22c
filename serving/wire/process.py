"""What the service needs from the system: no restart at SIGHUP, and descriptors for many connections."""

import resource
import signal

from circus.sighandler import SysHandler  # type: ignore[import-untyped]

# The descriptors of a worker, if the system allows as many; a silent connection costs one and some 10 KB.
MAX_DESCRIPTORS = 16_384


def ignore_hangup() -> None:
    """Make this process and those that it starts ignore SIGHUP, which would restart all workers and cost seconds.

    Models are loaded through the protocol, and keys are read again when their file changes, so nothing needs a restart.
    BentoML's process manager handles the signals in this list, and has no option for it.
    """
    SysHandler.SIGNALS = [other for other in SysHandler.SIGNALS if other != signal.SIGHUP]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def raise_descriptor_limit() -> None:
    """Raise this process' limit on descriptors, usually 1,024, which idle connections would use up."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if most == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
