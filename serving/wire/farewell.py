"""Farewell: what clients are told who come while the service stops."""

import asyncio
from http import HTTPStatus

from serving.early_answers import LAST, RETRY, early_answer
from serving.refusals import again

MESSAGE = again("The service is stopping")
FIELDS = RETRY + LAST
MOST_BYTES = 64 * 1024  # of headers
SECONDS = 5.0  # that a client has to send them, and to read the answer


class Farewell(asyncio.Protocol):
    """Answers a request with 503 and closes.

    What the client goes on sending is read and forgotten: to close on it would take the answer from the client, too.
    """

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self) -> None:
        self._head = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request."""
        self._transport = transport  # type: ignore[assignment]
        self._timer = asyncio.get_running_loop().call_later(SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Answer when the headers are whole."""
        if self._answered:
            return
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > MOST_BYTES:
            self._answered = True
            self._answer()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """Wait no more."""
        self._timer.cancel()

    def _answer(self) -> None:
        whole = early_answer(HTTPStatus.SERVICE_UNAVAILABLE, MESSAGE, FIELDS)
        self._transport.write(whole.partition(b"{")[0] if self._head.startswith(b"HEAD ") else whole)
        if self._transport.can_write_eof():  # not with TLS, where the client or the timer closes
            self._transport.write_eof()
