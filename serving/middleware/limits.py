"""The limits on requests' bodies: the size of each, the time it takes to arrive, and what all take together."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.headers import CONTENT_LENGTH, CONTENT_TYPE, header
from serving.metrics.metrics import refused
from serving.refusals import Refusal, overloaded

MAX_READING_BYTES = 128 * 2**20
# Of it, for the clients of one address, so that none can shut out all others.
MAX_ADDRESS_BYTES = MAX_READING_BYTES // 2
# Under the service's deadline, so that a slow client's status is 408 and not 504.
BODY_SECONDS = 20.0
# The address of clients on a socket that has none.
UNKNOWN = ("", 0)
METHODS_WITHOUT_BODY = ("GET", "HEAD")
# BentoML refuses it too, but with a traceback in the log.
PICKLE_TYPE = "application/vnd.bentoml+pickle"


@dataclass
class Reading:
    """The bytes of the bodies that this worker reads now.

    Args:
        max_bytes: past it 503, but not for one body alone.
        max_address_bytes: the same for the bodies of one address.
    """

    max_bytes: int = MAX_READING_BYTES
    max_address_bytes: int = MAX_ADDRESS_BYTES
    bytes_now: int = 0
    by_address: Counter[str] = field(default_factory=Counter)

    def add(self, address: str, size: int) -> None:
        """Add ``size`` bytes, which may be negative, to the bytes being read for a client address."""
        self.bytes_now += size
        self.by_address[address] += size
        if not self.by_address[address]:
            del self.by_address[address]

    def check(self, address: str, body_size: int) -> None:
        """Check that a body of this size, which is counted, is not one too many.

        Raises:
            Refusal: 503, if it is.
        """
        of_address = self.by_address[address]
        if of_address > max(self.max_address_bytes, body_size):
            raise overloaded(f"{of_address} bytes of requests from your address are being read at the same time")
        if self.bytes_now > max(self.max_bytes, body_size):
            raise overloaded(f"{self.bytes_now} bytes of requests are being read at the same time")


class BodyLimits:
    """ASGI middleware that reads each body whole before the application sees it, or refuses it.

    A larger body is refused as soon as it is known to be larger: by its Content-Length, or when its
    chunks exceed the limit. It never raises, because BentoML would leave such a request hanging.
    Requests by GET and HEAD pass, as nothing here reads a body of theirs.

    Args:
        app: the application.
        max_bytes: the largest body that is read.
        seconds: the longest time that a body may take.
        reading: what the worker reads now; all instances in a worker share it.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, seconds: float = BODY_SECONDS, reading: Reading | None = None
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds
        self.reading = reading or Reading()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["method"] in METHODS_WITHOUT_BODY:
            await self.app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ClientDisconnect:
            return
        except Refusal as refusal:
            await refused(refusal)(scope, receive, send)
            return
        await self.app(scope, replaying(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        if (header(scope["headers"], CONTENT_TYPE) or "").startswith(PICKLE_TYPE):
            raise Refusal(415, "content_type", f"The content type {PICKLE_TYPE} is refused; send JSON or a form.")
        length = header(scope["headers"], CONTENT_LENGTH) or ""
        # 20 digits are over any limit.
        if length.isdecimal() and int(length[:20]) > self.max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.seconds):
                return await self._collect(receive, (scope.get("client") or UNKNOWN)[0])
        except TimeoutError:
            message = f"The body took over {self.seconds:g} seconds to arrive; send it faster or in parts."
            raise Refusal(408, "body_too_slow", message) from None

    async def _collect(self, receive: Receive, address: str) -> bytes:
        body = bytearray()
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = message.get("body", b"")
                body += part
                self.reading.add(address, len(part))
                if len(body) > self.max_bytes:
                    raise self._too_large()
                self.reading.check(address, len(body))
                if not message.get("more_body", False):
                    return bytes(body)
        finally:
            self.reading.add(address, -len(body))

    def _too_large(self) -> Refusal:
        message = f"The body is over {self.max_bytes} bytes; send fewer images in one request."
        return Refusal(413, "body_too_large", message)


def replaying(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives ``body`` once and then the messages of the connection."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
