"""Farewell: the answer to clients that connect while the service stops."""

import asyncio
from http import HTTPStatus

from serving.early_answers import CLOSE_FIELD, RETRY_FIELD, early_answer
from serving.refusals import try_again

MESSAGE = try_again("The service is stopping")
FIELDS = RETRY_FIELD + CLOSE_FIELD
MAX_HEADER_BYTES = 64 * 1024
# For a client to send its headers and to read the answer.
PATIENCE_SECONDS = 5.0


class Farewell(asyncio.Protocol):
    """Answers a request with 503 and closes.

    What the client goes on to send is read and dropped: to close before it is read would lose the answer, too.
    """

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self) -> None:
        self._head = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request."""
        self._transport = transport  # type: ignore[assignment]
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Answer when the headers are whole."""
        if self._answered:
            return
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > MAX_HEADER_BYTES:
            self._answered = True
            self._answer()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """Wait no more."""
        self._timer.cancel()

    def _answer(self) -> None:
        whole = early_answer(HTTPStatus.SERVICE_UNAVAILABLE, MESSAGE, FIELDS)
        self._transport.write(whole.partition(b"{")[0] if self._head.startswith(b"HEAD ") else whole)
        # With TLS it cannot, and the client or the timer closes.
        if self._transport.can_write_eof():
            self._transport.write_eof()
