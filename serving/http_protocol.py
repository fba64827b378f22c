"""HTTP as uvicorn reads it with httptools, which is twice as fast as in Python but sets no limit to headers."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_OVERHEAD = 64 * 1024  # bytes of a request beside its body; h11, uvicorn's other parser, has the same limit
BODY = b'{"error":"The request\'s headers are over 64 KiB; send fewer or shorter ones."}'
REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(BODY), BODY)
)


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request has more headers, trailers or chunk sizes than body and 64 KiB."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received = 0  # since the packet in which the request began, which is not counted
        self._body = 0

    def data_received(self, data: bytes) -> None:
        """Take a packet."""
        self._received += len(data)
        super().data_received(data)
        if self._received > MOST_OVERHEAD + 2 * self._body and not self.transport.is_closing():
            self._refuse()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._received = self._body = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body += len(body)
        super().on_body(body)

    def _refuse(self) -> None:
        """Say why, unless an answer is under way, and close."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(REFUSAL)
        self.transport.close()
