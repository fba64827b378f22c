"""The gate: a few requests compute, a bounded number waits with bounded bytes, and the rest get 503."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from serving.headers import CONTENT_ENCODING, CONTENT_LENGTH, header
from serving.metrics.metrics import IN_FLIGHT, LIMIT
from serving.refusals import Refusal, overloaded, too_large

# In the lifespan's state, the keys of the gate and of the origins whose pages may use the service; ``serving.wire``
# looks them up there.
GATE, ORIGINS = "gate", "origins"


@dataclass(frozen=True)
class Limits:
    """The limits on what a worker handles at the same time.

    Args:
        running: requests that compute; two, so that one computes while another waits for its thread.
        per_round: turns per round of the event loop; connections are read and written only between rounds.
        waiting: requests that wait; in a full queue a single image waits a quarter of a second.
        waiting_bytes: bytes of the bodies of waiting requests; a single waiting request may have any size.
        compressed_bytes: the fewest bytes that a compressed body counts as, since it may unpack to far more.
        reading_bytes: bytes of the bodies that are being read; a single body may have any size.
        address_bytes: the part of ``reading_bytes`` that one address may take, so that none can shut out the others.
        body_seconds: time for a body to arrive; shorter than the deadline, so that a slow client gets 408.
        gone_seconds: waiting time after which a client may have disconnected, which is then checked.
    """

    running: int = 2
    per_round: int = 16
    waiting: int = 256
    waiting_bytes: int = 64 * 2**20
    compressed_bytes: int = 2**20
    reading_bytes: int = 128 * 2**20
    address_bytes: int = 64 * 2**20
    body_seconds: float = 20.0
    gone_seconds: float = 1.0

    @property
    def requests(self) -> int:
        """Return how many requests can be in the gate at most."""
        return self.running + self.waiting


class Gate:
    """Bounds the resources of one event loop's requests; turns are taken in the order of the requests.

    Args:
        limits: the bounds.
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._waiting_bytes = 0
        # Counts for this round of the loop: expected requests, turns that ended, and turns to give in the next round.
        self._arriving = self._ended = self._late = 0
        self._in_round = False
        self._reading = 0
        self._by_address: Counter[str] = Counter()
        # Set when fewer bytes are being read than before.
        self._freed = asyncio.Event()
        LIMIT.inc(limits.requests)

    @property
    def full(self) -> bool:
        """Return whether the next request that computes must be refused."""
        return self._running + len(self._waiting) + self._arriving >= self.limits.requests

    def expect(self) -> None:
        """Count, for this round of the loop, a request that will ask for a turn."""
        self._arriving += 1
        self._begin_round()

    def refusal(self) -> Refusal:
        """Return the refusal of a request beyond the limit."""
        return overloaded(f"{len(self._waiting)} requests are already waiting")

    async def body(self, request: Request, max_bytes: int) -> bytes:
        """Return a request's whole body.

        Raises:
            Refusal: 408 for a body that takes too long, 413 for one over ``max_bytes``, as soon as that is known, 503
                if all bodies together are too large.
            ClientDisconnect: the client has disconnected.
        """
        length = header(request.scope["headers"], CONTENT_LENGTH) or ""
        # 20 digits are over any limit.
        if length.isdecimal() and int(length[:20]) > max_bytes:
            raise too_large(max_bytes)
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                return await self._read(request, max_bytes)
        except TimeoutError:
            message = f"The body took over {self.limits.body_seconds:g} seconds to arrive; send it faster or in parts."
            raise Refusal(408, "body_too_slow", message) from None

    @asynccontextmanager
    async def room(self, address: str, size: int) -> AsyncIterator[None]:
        """Wait until ``size`` more bytes may be read from a client, and let the block read them.

        This is for a transport that hands over a body whole, so that its bytes cannot be counted as they arrive.
        """
        while self._excess(address, size, size):
            self._freed.clear()
            await self._freed.wait()
        self._count(address, size)
        try:
            yield
        finally:
            self._count(address, -size)

    @asynccontextmanager
    async def turn(self, request: Request, body: bytes) -> AsyncIterator[None]:
        """Wait for the request's turn, and let the block compute.

        Raises:
            Refusal: 503, at once, if too many wait already.
            ClientDisconnect: the client has disconnected meanwhile.
        """
        IN_FLIGHT.inc()
        try:
            if self._running < self.limits.running:
                self._running += 1
            else:
                await self._wait(request, self._size(request, body))
            try:
                yield
            finally:
                self._end()
        finally:
            IN_FLIGHT.dec()

    async def _wait(self, request: Request, size: int) -> None:
        heavy = bool(self._waiting) and self._waiting_bytes + size > self.limits.waiting_bytes
        if heavy or len(self._waiting) >= self.limits.waiting:
            raise self.refusal()
        loop = asyncio.get_running_loop()
        start = loop.time()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        self._waiting_bytes += size
        try:
            await turn
            if loop.time() - start > self.limits.gone_seconds and await request.is_disconnected():
                raise ClientDisconnect
        except BaseException:
            # The turn may come in the same round of the loop as the service's deadline.
            if turn.done() and not turn.cancelled():
                self._next()
            if turn in self._waiting:
                self._waiting.remove(turn)
            raise
        finally:
            self._waiting_bytes -= size

    def _end(self) -> None:
        """End a turn; the next begins now, or in the next round if this one has had all its turns."""
        self._ended += 1
        self._begin_round()
        if self._ended < self.limits.per_round:
            self._next()
        else:
            self._late += 1

    def _begin_round(self) -> None:
        if not self._in_round:
            self._in_round = True
            asyncio.get_running_loop().call_soon(self._end_round)

    def _end_round(self) -> None:
        late, self._arriving, self._ended, self._late, self._in_round = self._late, 0, 0, 0, False
        for _ in range(late):
            self._next()

    def _next(self) -> None:
        """Give a turn to the next request that waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._running -= 1

    def _size(self, request: Request, body: bytes) -> int:
        compressed = header(request.scope["headers"], CONTENT_ENCODING) is not None
        return max(len(body), self.limits.compressed_bytes) if compressed else len(body)

    async def _read(self, request: Request, max_bytes: int) -> bytes:
        address = request.client.host if request.client else ""
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                self._count(address, len(part))
                if len(body) > max_bytes:
                    raise too_large(max_bytes)
                excess = self._excess(address, len(body))
                if excess:
                    raise overloaded(f"{excess} are being read at the same time")
            return bytes(body)
        finally:
            self._count(address, -len(body))

    def _count(self, address: str, size: int) -> None:
        """Add ``size`` bytes, which may be negative, to those that are being read."""
        self._reading += size
        self._by_address[address] += size
        if not self._by_address[address]:
            del self._by_address[address]
        if size < 0:
            self._freed.set()

    def _excess(self, address: str, size: int, more: int = 0) -> str:
        """Return which limit ``more`` bytes of a body of ``size`` bytes would exceed; empty if none."""
        # ``get`` makes no entry.
        mine = self._by_address.get(address, 0) + more
        if mine > max(self.limits.address_bytes, size):
            return f"{mine} bytes of requests from your address"
        found = self._reading + more
        return f"{found} bytes of requests" if found > max(self.limits.reading_bytes, size) else ""
