"""Accepting connections, and sharing them between the workers.

libuv, and so uvloop, accepts one connection in each round of its loop. That is too few where a round computes: with
sixty small predictions in each, 400 clients that connected together waited sixteen seconds. And it is too many among
workers, as the rounds of an idle one are short: of 32 clients that connected together one worker got nearly all, and
the others idled.

A worker that stops goes on accepting until it has answered all requests, to say that it stops: clients in a queue that
nobody reads would learn it from a reset, after all the time that the end may take.
"""

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Callable
from typing import Any

import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.settings import load_settings
from serving.wire.farewell import Farewell
from serving.wire.parent import end_with_parent

# In a round of the event loop.
MAX_ACCEPTS_PER_ROUND = 128
# Of several workers, each takes one connection a round, and one more for so many in its queue.
QUEUE_PER_EXTRA_ACCEPT = 8
# Between the rounds of several workers: where all cores are busy, the others need some of it to wake up.
PAUSE_SECONDS = 0.005
# After there were no more file descriptors.
REST_SECONDS = 1.0
# Of a worker, where the system allows as many; a silent connection costs one and some 10 KB.
MAX_DESCRIPTORS = 16_384
TLS_HANDSHAKE_SECONDS = 10.0
# For connections to begin before the end.
BEGINNING_SECONDS = 1.0
# That a worker that stops leaves a client to the other workers, which may not stop.
UNTAKEN_SECONDS = 0.25
# That a client may leave an answer unread without taking any of it.
UNREAD_SECONDS = 60.0

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Factory = Callable[[], asyncio.BaseProtocol]

logger = logging.getLogger("bentoml.clustnet")


def loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:  # noqa: ARG001 - uvicorn's
    """Return the class of the event loop, for uvicorn, in a worker that has what a worker needs of the system."""
    end_with_parent()
    _raise_descriptor_limit()
    return SharingLoop if load_settings().workers > 1 else AcceptingLoop


def _raise_descriptor_limit() -> None:
    """Raise the usual limit of 1,024 connections of this process, which idle ones would use up."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if most == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class AcceptingLoop(uvloop.Loop):
    """uvloop, with ``Acceptor`` for sockets that it is given."""

    pause = 0.0

    async def create_server(self, protocol_factory: Factory, *args: Any, **options: Any) -> Any:
        """Listen as uvloop does, or on the socket ``sock``."""
        if options.get("sock") is None:
            return await super().create_server(protocol_factory, *args, **options)
        listening: socket.socket = options["sock"]
        listening.setblocking(False)
        listening.listen(options.get("backlog", 100))
        return Acceptor(self, listening, protocol_factory, options.get("ssl"), self.pause)


class SharingLoop(AcceptingLoop):
    """The same, which leaves connections to the other workers."""

    pause = PAUSE_SECONDS


class Acceptor:
    """A server that accepts all who wait, or a few each ``pause``, so that other workers have their chance.

    It begins with one, and the longer the queue proves to be the more are accepted in a round.

    Args:
        loop: runs it.
        listening: the socket, which does not block.
        factory: makes the protocol of a connection.
        ssl: a context for TLS, None without.
        pause: seconds.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listening: socket.socket, factory: Factory, ssl: Any, pause: float = 0.0
    ) -> None:
        self.sockets = (listening,)
        # A copy, as uvicorn closes its own when it begins to stop.
        self._listening = listening.dup()
        self._loop, self._factory, self._ssl = loop, factory, ssl
        self._pause = pause
        # Connections accepted since none waited.
        self._burst = 0
        self._beginning: set[asyncio.Task[Any]] = set()
        self._closed, self._untaken = False, 0.0
        loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Accept clients only to answer that the service stops, and only those that no other worker takes."""
        if not self._closed:
            self._closed = True
            self._factory = Farewell
            self._untaken, self._pause = UNTAKEN_SECONDS if self._pause else 0.0, 0.0
            self._loop.add_reader(self._listening, self._notice)

    async def wait_closed(self) -> None:
        """Stop accepting once all clients that wait have their answer, and wait until accepted ones have begun."""
        await asyncio.sleep(2 * self._untaken)
        self._loop.remove_reader(self._listening)
        self._listening.close()
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=BEGINNING_SECONDS)

    def _accept(self) -> bool:
        """Accept those who wait; false if there are no more file descriptors."""
        for _ in range(
            min(1 + self._burst // QUEUE_PER_EXTRA_ACCEPT, MAX_ACCEPTS_PER_ROUND)
            if self._pause
            else MAX_ACCEPTS_PER_ROUND
        ):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                # None waits, or it is gone.
                self._burst = 0
                break
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                logger.error("No connection can be accepted: %s.", error.strerror)
                # The socket would be ready again at once, and the loop would spin.
                self._wait(REST_SECONDS)
                return False
            self._burst += 1
            self._begin(connection)
        if self._pause:
            self._wait(self._pause)
        return True

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        # Linux alone has it.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * UNREAD_SECONDS))
        patience = TLS_HANDSHAKE_SECONDS if self._ssl else None
        beginning = self._loop.connect_accepted_socket(
            self._factory, connection, ssl=self._ssl, ssl_handshake_timeout=patience
        )
        task = self._loop.create_task(beginning)
        self._beginning.add(task)
        task.add_done_callback(self._begun)

    def _begun(self, task: "asyncio.Task[Any]") -> None:
        self._beginning.discard(task)
        if task.cancelled():
            return
        if task.exception():
            logger.debug("A connection could not begin: %s", task.exception())
        # uvicorn has ended all connections, but does not know this one.
        elif self._closed:
            _end(task.result()[0].get_protocol())

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.add_reader(self._listening, self._notice if self._closed else self._accept)

    def _notice(self) -> None:
        """Leave new connections to the other workers, which may not stop."""
        self._loop.remove_reader(self._listening)
        self._loop.call_later(self._untaken, self._answer_waiting)

    def _answer_waiting(self) -> None:
        if self._listening.fileno() >= 0 and self._accept():
            self._loop.add_reader(self._listening, self._notice)


def _end(protocol: asyncio.BaseProtocol) -> None:
    if isinstance(protocol, HttpToolsProtocol):
        protocol.shutdown()
