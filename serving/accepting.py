"""How workers that share a socket share its connections.

libuv, and so uvloop, accepts all connections that wait as soon as it sees one: of 32 clients that come together one
worker gets nearly all, and the others idle.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvloop

from clustnet.settings import load_settings

PAUSE_SECONDS = 0.001  # after a connection was accepted: others that sleep need some of it to wake up
REST_SECONDS = 1.0  # after there were no more file descriptors

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Factory = Callable[[], asyncio.BaseProtocol]

logger = logging.getLogger("bentoml.clustnet")


def loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:  # noqa: ARG001 - uvicorn's
    """Return what makes the event loop, as uvicorn asks for it."""
    return FairLoop if load_settings().workers > 1 else uvloop.new_event_loop


class FairLoop(uvloop.Loop):
    """uvloop, with ``OneByOne`` for sockets that it is given."""

    async def create_server(self, protocol_factory: Factory, *args: Any, **options: Any) -> Any:
        """Listen as uvloop does, or on the socket ``sock``."""
        if options.get("sock") is None:
            return await super().create_server(protocol_factory, *args, **options)
        shared: socket.socket = options["sock"]
        shared.setblocking(False)
        shared.listen(options.get("backlog", 100))
        return OneByOne(self, shared, protocol_factory, options.get("ssl"))


class OneByOne:
    """A server that pauses after each connection, so that other workers have their chance.

    Args:
        loop: runs it.
        shared: listens, and does not block.
        factory: makes the protocol of a connection.
        ssl: a context for TLS, None without.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, shared: socket.socket, factory: Factory, ssl: Any) -> None:
        self.sockets = (shared,)
        self._loop, self._shared, self._factory, self._ssl = loop, shared, factory, ssl
        self._beginning: set[asyncio.Task[Any]] = set()
        self._closed = False
        loop.add_reader(shared, self._accept)

    def close(self) -> None:
        """Accept no more."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._shared)

    async def wait_closed(self) -> None:
        """Wait till the connections that were accepted last have begun."""
        await asyncio.gather(*self._beginning, return_exceptions=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._shared.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):  # another worker was faster, or it is gone
            return
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            logger.error("No connection can be accepted: %s.", error.strerror)
            self._pause(REST_SECONDS)  # the socket would be ready again at once, and the loop would spin
            return
        self._pause(PAUSE_SECONDS)
        connection.setblocking(False)
        beginning = self._loop.connect_accepted_socket(self._factory, connection, ssl=self._ssl)
        task = self._loop.create_task(beginning)
        self._beginning.add(task)
        task.add_done_callback(self._begun)

    def _begun(self, task: "asyncio.Task[Any]") -> None:
        self._beginning.discard(task)
        if not task.cancelled() and task.exception():
            logger.debug("A connection could not begin: %s", task.exception())

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._shared)
        self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._shared, self._accept)
