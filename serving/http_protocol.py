"""HTTP as uvicorn reads it with httptools, which is faster than in Python but sets no limit to headers."""

from collections.abc import Callable
from typing import Any, ClassVar

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.admission import Admission

MOST_OVERHEAD = 64 * 1024  # bytes of a request beside its body; h11, uvicorn's other parser, has the same limit
BODY = b'{"error":"The request\'s headers are over 64 KiB; send fewer or shorter ones."}'
REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(BODY), BODY)
)


class BoundedProtocol(HttpToolsProtocol):
    """Refuses requests with more headers, trailers and chunk sizes than body and 64 KiB, and those without room."""

    admission: ClassVar[Admission | None] = None
    way: ClassVar[Callable[[ASGIApp], ASGIApp]] = staticmethod(lambda app: app)  # to what answers, from uvicorn's app

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = BoundedProtocol.way(self.app)
        self._received = 0  # since the packet in which the request began, which is not counted
        self._body = 0
        self._computes = self._turned_away = False
        self._admitted = 0  # whole and not yet answered; more than one where the client does not wait for answers

    def data_received(self, data: bytes) -> None:
        """Take a packet."""
        self._received += len(data)
        super().data_received(data)
        if self._received > MOST_OVERHEAD + 2 * self._body and not self.transport.is_closing():
            self._refuse_headers()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._received = self._body = 0
        self._turned_away = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, if there is room for it."""
        path = self.url.partition(b"?")[0].decode("latin-1")
        self._computes = self.admission is not None and self.admission.computes(path)
        if self._computes and self.admission and self.admission.full and self._answered():
            self._turn_away(self.admission.refusal(path, self.headers))
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body += len(body)
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if self._turned_away:
            self._wait_for_another()
            return
        if self._computes and self.admission and not self._answered():  # as one of too many bytes is, before its end
            self._admitted += 1
            self.admission.move(1)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Make room when an answer is complete."""
        self._leave(min(self._admitted, 1))
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room when the client has gone."""
        self._leave(self._admitted)
        super().connection_lost(exc)

    def _leave(self, count: int) -> None:
        if self.admission:
            self._admitted -= count
            self.admission.move(-count)

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _turn_away(self, answer: bytes) -> None:
        """Answer now, and read the request's body without keeping it."""
        self._turned_away = True
        self.transport.write(answer)
        if not self.parser.should_keep_alive():
            self.transport.close()

    def _wait_for_another(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _refuse_headers(self) -> None:
        """Say why, unless an answer is under way, and close."""
        if self._answered():
            self.transport.write(REFUSAL)
        self.transport.close()
