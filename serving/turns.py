"""Turns: of the requests that compute a few run at a time, a bounded number waits, and the rest is refused at once."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.headers import CONTENT_ENCODING, header
from serving.metrics.metrics import refused
from serving.middleware.limits import replaying
from serving.refusals import Refusal, overloaded

# In a worker: one request computes while another is read or written.
MAX_RUNNING_REQUESTS = 2
# Requests of one image wait a quarter of a second in so long a queue, and outlast a pause of the machine as long.
MAX_WAITING_REQUESTS = 256
# Of bodies: a queue of more, full of images, would wait past the deadline.
MAX_WAITING_BYTES = 64 * 2**20
# The least that a compressed body counts, since it may hold far more than its length.
MIN_COMPRESSED_BYTES = 2**20


def busy(waiting: int) -> str:
    """Return the reason of a refusal while so many requests wait."""
    return f"{waiting} requests wait already"


class Turns:
    """Gives turns in the order of the requests; all calls come from one event loop.

    Args:
        max_running: how many have a turn at the same time.
        max_waiting: how many may wait for theirs.
        max_bytes: how many bytes the bodies of those that wait may have together; one alone may wait with any.
    """

    def __init__(
        self,
        max_running: int = MAX_RUNNING_REQUESTS,
        max_waiting: int = MAX_WAITING_REQUESTS,
        max_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.max_bytes = max_bytes
        self._running = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._waiting_bytes = 0

    async def begin(self, gone: Callable[[], Awaitable[None]], size: int = 0) -> bool:
        """Return True with a turn, which ``end`` gives back; False, without one, if the client goes away before it.

        Args:
            gone: an asynchronous function that returns when the client goes away; it is called only if there is a wait.
            size: the bytes of the request's body.

        Raises:
            Refusal: 503, at once, if too many wait already.
        """
        if self._running < self.max_running:
            self._running += 1
            return True
        if self._full(size):
            raise overloaded(busy(len(self._waiting)))
        return await self._wait(gone, size)

    def end(self) -> None:
        """Give a turn back to the next request that waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self._running -= 1

    def _full(self, size: int) -> bool:
        heavy = bool(self._waiting) and self._waiting_bytes + size > self.max_bytes
        return heavy or len(self._waiting) >= self.max_waiting

    async def _wait(self, gone: Callable[[], Awaitable[None]], size: int) -> bool:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._waiting_bytes += size
        watch = asyncio.ensure_future(_watch(gone, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            # The turn may come in the same round of the loop as the service's timeout.
            if not turn.cancelled() and turn.result():
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
    compressed = header(scope["headers"], CONTENT_ENCODING) is not None
    return max(len(body), MIN_COMPRESSED_BYTES) if compressed else len(body)


class TakeTurns:
    """ASGI middleware that lets requests in by turns, and sends nothing to a client that goes away before its turn.

    It must get each body whole, as ``BodyLimits`` passes it on, so that no turn is spent on a slow client; for the
    same reason a turn ends when the answer begins, which is when all of it is computed.

    Args:
        app: the application.
        turns: the turns, which all paths share.
        takes_part: returns for a path whether its requests compute; all others pass.
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
