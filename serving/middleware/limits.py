"""The limits on requests' bodies: the size of each, the time it takes to arrive, and what all take together."""

import asyncio
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.headers import header
from serving.metrics.metrics import refused
from serving.refusals import Refusal, overloaded

MOST_READ_BYTES = 128 * 2**20
BODY_SECONDS = 20.0  # under the service's timeout, so that a slow client is told 408 and not 504
WITHOUT_BODY = ("GET", "HEAD")
PICKLE = "application/vnd.bentoml+pickle"  # BentoML refuses it too, but with a traceback in the log


@dataclass
class Reading:
    """The bytes of bodies that are being read in this worker; past ``most`` 503, but not to one alone."""

    most: int = MOST_READ_BYTES
    now: int = 0


class BodyLimits:
    """ASGI middleware that reads each body whole before the application sees it, or refuses it.

    A larger body is refused as soon as it is known to be larger: by its Content-Length, or when its
    chunks exceed the limit. It never raises, because BentoML would leave such a request hanging.
    Requests by GET and HEAD, which nothing here reads a body of, pass.

    Args:
        app: the application.
        max_bytes: the largest body that is read.
        seconds: the longest time that a body may take.
        reading: what is being read; all that read in this worker share it.
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
        if scope["type"] != "http" or scope["method"] in WITHOUT_BODY:
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
        if (header(scope["headers"], b"content-type") or "").startswith(PICKLE):
            raise Refusal(415, "content_type", f"The content type {PICKLE} is refused; send JSON or a form.")
        length = header(scope["headers"], b"content-length") or ""
        if length.isdecimal() and int(length[:20]) > self.max_bytes:  # 20 digits are too many anyway
            raise self._too_large()
        try:
            async with asyncio.timeout(self.seconds):
                return await self._collect(receive)
        except TimeoutError:
            message = f"The body took over {self.seconds:g} seconds to arrive; send it faster or in parts."
            raise Refusal(408, "body_too_slow", message) from None

    async def _collect(self, receive: Receive) -> bytes:
        body = bytearray()
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = message.get("body", b"")
                body += part
                self.reading.now += len(part)
                if len(body) > self.max_bytes:
                    raise self._too_large()
                if self.reading.now > max(self.reading.most, len(body)):
                    raise self._too_many()
                if not message.get("more_body", False):
                    return bytes(body)
        finally:
            self.reading.now -= len(body)

    def _too_large(self) -> Refusal:
        message = f"The body is over {self.max_bytes} bytes; send fewer images in one request."
        return Refusal(413, "body_too_large", message)

    def _too_many(self) -> Refusal:
        return overloaded(f"{self.reading.now} bytes of requests are being read at the same time")


def replaying(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives ``body`` once and then what the connection says."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
