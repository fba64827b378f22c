"""How connections are accepted, and shared by the workers.

libuv, and so uvloop, accepts one connection in each round of its loop. That is too few where a round computes: with
sixty small predictions in each, 400 clients who came together waited sixteen seconds to be let in. And it is too
many among workers, as the rounds of one who idles are short: of 32 clients that came together one worker got nearly
all, and the others idled.

A worker that stops goes on accepting till it has answered everybody, to say that it stops: those who wait in a queue
that nobody reads would learn it from a reset, after all the time that the end may take.
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

MOST = 128  # connections accepted in a round of the loop
ONE_MORE = 8  # connections of a queue, for which a round of several workers takes one more
PAUSE_SECONDS = 0.005  # of several workers, after a round: where all cores are busy, others need some of it to wake up
REST_SECONDS = 1.0  # after there were no more file descriptors
MOST_DESCRIPTORS = 16_384  # of a worker, where the system allows as many; a silent connection costs one and some 10 KB
HANDSHAKE_SECONDS = 10.0  # of TLS
BEGINNING_SECONDS = 1.0  # that the end waits for connections to begin
UNTAKEN_SECONDS = 0.25  # that a client waits who came to a worker that stops, while others may not
UNREAD_SECONDS = 60.0  # that a client may leave an answer unread, of which it takes nothing

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Factory = Callable[[], asyncio.BaseProtocol]

logger = logging.getLogger("bentoml.clustnet")


def loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:  # noqa: ARG001 - uvicorn's
    """Return what makes the event loop, as uvicorn asks for it."""
    _raise_descriptor_limit()
    return SharingLoop if load_settings().workers > 1 else AcceptingLoop


def _raise_descriptor_limit() -> None:
    """Let this process have more connections than the 1,024 that are usual, which idle ones would use up."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if most == resource.RLIM_INFINITY else min(MOST_DESCRIPTORS, most)
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
        self._listening = listening.dup()  # uvicorn closes its own when it begins to stop
        self._loop, self._factory, self._ssl = loop, factory, ssl
        self._pause = pause
        self._burst = 0  # connections since there was no other
        self._beginning: set[asyncio.Task[Any]] = set()
        self._closed, self._untaken = False, 0.0
        loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Accept clients only to tell them that the service stops, and those whom no other worker takes."""
        if not self._closed:
            self._closed = True
            self._factory = Farewell
            self._untaken, self._pause = UNTAKEN_SECONDS if self._pause else 0.0, 0.0
            self._loop.add_reader(self._listening, self._notice)

    async def wait_closed(self) -> None:
        """Accept no more when all who came have been told, and wait till those that were accepted have begun."""
        await asyncio.sleep(2 * self._untaken)
        self._loop.remove_reader(self._listening)
        self._listening.close()
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=BEGINNING_SECONDS)

    def _accept(self) -> bool:
        """Accept those who wait; false if there are no more file descriptors."""
        for _ in range(min(1 + self._burst // ONE_MORE, MOST) if self._pause else MOST):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):  # no other waits, or it is gone
                self._burst = 0
                break
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                logger.error("No connection can be accepted: %s.", error.strerror)
                self._wait(REST_SECONDS)  # the socket would be ready again at once, and the loop would spin
                return False
            self._burst += 1
            self._begin(connection)
        if self._pause:
            self._wait(self._pause)
        return True

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * UNREAD_SECONDS))
        patience = HANDSHAKE_SECONDS if self._ssl else None
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
        elif self._closed:  # uvicorn, which has asked all to end, does not know this one
            _end(task.result()[0].get_protocol())

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.add_reader(self._listening, self._notice if self._closed else self._accept)

    def _notice(self) -> None:
        """Let the other workers, if they do not stop as well, take who has come."""
        self._loop.remove_reader(self._listening)
        self._loop.call_later(self._untaken, self._tell)

    def _tell(self) -> None:
        if self._listening.fileno() >= 0 and self._accept():
            self._loop.add_reader(self._listening, self._notice)


def _end(protocol: asyncio.BaseProtocol) -> None:
    if isinstance(protocol, HttpToolsProtocol):
        protocol.shutdown()
