"""Share connections between several workers.

uvloop accepts one connection in each round of its loop, and the rounds of an idle worker are short. When 32 clients
connected together, one of two workers got all 32 in 7 of 12 trials, so that half of the machine idled; with this loop
it got 24 in the median (benchmarks/README.md).

SO_REUSEPORT would need a socket for each worker, but BentoML makes only one. BentoML's worker chooses ``loop="auto"``,
so ``share_connections`` puts this loop under that name into uvicorn's table of loops; there is no option for it.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvloop
from uvicorn.config import LOOP_FACTORIES

# How many connections in the queue make a worker accept one more at a time.
QUEUE_PER_EXTRA_ACCEPT = 8
# The pause before a worker accepts again: if all cores are busy, the others need some of it to wake up.
PAUSE_SECONDS = 0.005
# The pause after file descriptors ran out.
REST_SECONDS = 1.0
TLS_HANDSHAKE_SECONDS = 10.0

Factory = Callable[[], asyncio.BaseProtocol]

logger = logging.getLogger("bentoml.clustnet")


def share_connections() -> None:
    """Have uvicorn use ``SharingLoop`` if its caller leaves the choice to it, as BentoML does."""
    LOOP_FACTORIES["auto"] = f"{__name__}:{loop_factory.__name__}"


def loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:  # noqa: ARG001 - uvicorn's
    """Return the class of the event loop, for uvicorn."""
    return SharingLoop


class SharingLoop(uvloop.Loop):
    """uvloop, with ``Acceptor`` for a socket that it is given."""

    async def create_server(self, protocol_factory: Factory, *args: Any, **options: Any) -> Any:
        """Listen as uvloop does, or on the socket ``sock``."""
        if options.get("sock") is None:
            return await super().create_server(protocol_factory, *args, **options)
        return Acceptor(self, options["sock"], protocol_factory, options.get("ssl"))


class Acceptor:
    """Accepts a few clients at a time, more from a longer queue, and pauses for the other workers.

    Args:
        loop: the event loop.
        listening: the socket that clients connect to.
        factory: makes the protocol of a connection.
        ssl: a context for TLS; None without TLS.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, listening: socket.socket, factory: Factory, ssl: Any) -> None:
        self.sockets = (listening,)
        self._loop, self._listening, self._factory, self._ssl = loop, listening, factory, ssl
        # Connections accepted since the queue was last empty.
        self._burst = 0
        self._beginning: set[asyncio.Task[Any]] = set()
        listening.setblocking(False)
        self._timer = loop.call_soon(self._go_on)

    def close(self) -> None:
        """Accept no more."""
        self._timer.cancel()
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Return at once."""

    def _go_on(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        self._loop.remove_reader(self._listening)
        pause = PAUSE_SECONDS
        try:
            for _ in range(1 + self._burst // QUEUE_PER_EXTRA_ACCEPT):
                self._begin(self._listening.accept()[0])
                self._burst += 1
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            # No client waits, or the client is gone.
            self._burst = 0
        except OSError as error:
            logger.error("No connection can be accepted: %s.", error.strerror)
            pause = REST_SECONDS
        self._timer = self._loop.call_later(pause, self._go_on)

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        patience = TLS_HANDSHAKE_SECONDS if self._ssl else None
        beginning = self._loop.connect_accepted_socket(
            self._factory, connection, ssl=self._ssl, ssl_handshake_timeout=patience
        )
        task = self._loop.create_task(beginning)
        self._beginning.add(task)
        task.add_done_callback(self._begun)

    def _begun(self, task: "asyncio.Task[Any]") -> None:
        self._beginning.discard(task)
        if not task.cancelled() and task.exception():
            logger.debug("A connection could not be opened: %s", task.exception())
