"""Turns: of the requests that compute a few run at a time, a bounded number waits, and the rest is refused at once."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.headers import header
from serving.metrics.metrics import refused
from serving.middleware.limits import replaying
from serving.refusals import Refusal, overloaded

MOST_RUNNING = 2  # requests at once in a worker: one computes while another is read or written
MOST_WAITING = 256  # of one image each they wait a quarter of a second, and outlast a pause of the machine as long
MOST_WAITING_BYTES = 64 * 2**20  # of bodies: more that are full of images would wait past the deadline
COMPRESSED_BYTES = 2**20  # that a compressed body counts at least, since it may hold far more than it shows


def busy(waiting: int) -> str:
    """Return why a request is refused while so many wait."""
    return f"{waiting} requests wait already"


class Turns:
    """Hands out turns in the order they are asked for; all calls come from one event loop.

    Args:
        most_running: how many have a turn at the same time.
        most_waiting: how many may wait for theirs.
        most_bytes: how many bytes the bodies of those that wait may have together; one alone may wait with any.
    """

    def __init__(
        self, most_running: int = MOST_RUNNING, most_waiting: int = MOST_WAITING, most_bytes: int = MOST_WAITING_BYTES
    ) -> None:
        self.most_running = most_running
        self.most_waiting = most_waiting
        self.most_bytes = most_bytes
        self._running = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._waiting_bytes = 0

    async def begin(self, gone: Callable[[], Awaitable[None]], size: int = 0) -> bool:
        """Wait for a turn, which ``end`` gives back; false, and no turn, if the client goes away before it.

        Args:
            gone: an asynchronous function that returns when the client goes away; it is called only if there is a wait.
            size: the bytes of the request's body.

        Raises:
            Refusal: 503, at once, if too many wait already.
        """
        if self._running < self.most_running:
            self._running += 1
            return True
        if self._full(size):
            raise overloaded(busy(len(self._waiting)))
        return await self._wait(gone, size)

    def end(self) -> None:
        """Give a turn back: the next that waits takes it over."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self._running -= 1

    def _full(self, size: int) -> bool:
        heavy = bool(self._waiting) and self._waiting_bytes + size > self.most_bytes
        return heavy or len(self._waiting) >= self.most_waiting

    async def _wait(self, gone: Callable[[], Awaitable[None]], size: int) -> bool:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._waiting_bytes += size
        watch = asyncio.ensure_future(_watch(gone, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():  # the turn came in the same round as the service's timeout
                self.end()
            raise
        finally:
            watch.cancel()
            self._waiting_bytes -= size
            if turn in self._waiting:
                self._waiting.remove(turn)


async def _watch(gone: Callable[[], Awaitable[None]], turn: asyncio.Future[bool]) -> None:
    """Leave the queue when the client has gone."""
    await gone()
    if not turn.done():
        turn.set_result(False)


def _size(scope: Scope, body: bytes) -> int:
    compressed = header(scope["headers"], b"content-encoding") is not None
    return max(len(body), COMPRESSED_BYTES) if compressed else len(body)


class TakeTurns:
    """ASGI middleware that lets requests in by turns, and sends a client that goes away before its turn nothing.

    It must get each body whole, as ``BodyLimits`` hands it on, so that no turn is spent on a slow client; for the
    same reason a turn ends when the answer begins, which is when all of it is computed.

    Args:
        app: the application.
        turns: the turns, which all paths share.
        takes_part: tells by its path whether a request computes; all others pass.
    """

    def __init__(self, app: ASGIApp, turns: Turns, takes_part: Callable[[str], bool]) -> None:
        self.app = app
        self.turns = turns
        self.takes_part = takes_part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or not self.takes_part(scope["path"]):
            await self.app(scope, receive, send)
            return
        body = (await receive()).get("body", b"")

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        try:
            if not await self.turns.begin(gone, _size(scope, body)):
                return
        except Refusal as refusal:
            await refused(refusal)(scope, receive, send)
            return
        await self._in_turn(scope, replaying(body, receive), send)

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        ended = False

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self.turns.end()

        async def ending(message: Message) -> None:
            end()
            await send(message)

        try:
            await self.app(scope, receive, ending)
        finally:
            end()
