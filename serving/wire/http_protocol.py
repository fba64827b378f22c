"""uvicorn's HTTP protocol on httptools, which is faster than Python but has no limits, with limits."""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar

import httptools
from starlette.types import ASGIApp
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.admission import Admission
from serving.early_answers import CLOSE_FIELD, early_answer
from serving.headers import UPGRADE, field_name
from serving.rounds import Rounds

# Of a request beside its body; h11, uvicorn's other parser, has the same limit.
MAX_OVERHEAD_BYTES = 64 * 1024
# For a request to be whole; more than a body may take, so that a slow body is answered with 408 first.
PATIENCE_SECONDS = 30.0
TOO_MUCH = "The request's headers are over 64 KiB; send fewer or shorter ones."
TOO_SLOW = f"The request's headers took over {PATIENCE_SECONDS:g} seconds to arrive; send them at once."
NOT_HTTP = "The request is not HTTP, or its headers are malformed; let a client's library write it."


class BoundedProtocol(HttpToolsProtocol):
    """Refuses requests with more headers, trailers and chunk sizes than body and 64 KiB, and those without room.

    It closes connections that send no request, or not all of one, and passes on a few requests a round.
    """

    admission: ClassVar[Admission | None] = None
    rounds: ClassVar[Rounds] = Rounds()
    # Returns the application that answers, from uvicorn's.
    way: ClassVar[Callable[[ASGIApp], ASGIApp]] = staticmethod(lambda app: app)

    _timer: asyncio.TimerHandle

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = BoundedProtocol.way(self.app)
        # There are no web sockets, and uvicorn's protocol would take the connection over.
        self.ws_protocol_class = None
        # Bytes since the packet in which the request began, which is not counted.
        self._received = 0
        self._body = 0
        self._in_packet = self._in_head = self._in_body = self._upgrades = False
        self._computes = self._turned_away = self._closes = False
        # Requests that are whole and not yet answered; more than one where the client does not wait for answers.
        self._admitted = 0
        # The request that starts once its packet has been read.
        self._put_off: tuple[RequestResponseCycle, ASGI3Application] | None = None
        # Since when the rest of a request is missing; None once it is whole.
        self._waits_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Wait for a request, with a limit."""
        super().connection_made(transport)
        self._wait_for_rest()
        self._timer = self.loop.call_later(PATIENCE_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        """Take a packet."""
        self._wait_for_rest()
        self._received += len(data)
        self._unset_keepalive_if_required()
        self._in_packet = True
        self._parse(data)
        self._in_packet = False
        # The body comes in more packets.
        if self._put_off:
            self._start_now(*self._put_off)
        if self._received > MAX_OVERHEAD_BYTES + 2 * self._body and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TOO_MUCH)

    def on_message_begin(self) -> None:
        """Begin a request."""
        # Of an earlier request in the same packet.
        self._unset_keepalive_if_required()
        self._wait_for_rest()
        self._received = self._body = 0
        self._in_head, self._turned_away = True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, if there is room for it."""
        self._in_head = False
        self._upgrades = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._upgrades:
            self._begin()
            self._in_body = True

    def _begin(self) -> None:
        path = self.url.partition(b"?")[0].decode("latin-1")
        admission = self.admission if self.parser.get_method() == b"POST" else None
        self._computes = admission is not None and admission.computes(path)
        if self._computes and admission and admission.full and self._answered():
            # The body is read and not kept.
            self._turned_away = True
            self._closes = not self.parser.should_keep_alive() or self.parser.get_http_version() == "1.0"
            self.transport.write(admission.refusal(path, self.headers, self._closes))
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body += len(body)
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if self._upgrades:
            return
        self._waits_since, self._in_body = None, False
        if self._turned_away and self._closes:
            self.transport.close()
        elif self._turned_away or self._answered():
            self._wait_for_another()
        elif self._computes and self.admission:
            self._admitted += 1
            self.admission.move(1)
            self._pass_on()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Make room when an answer is complete."""
        self._leave(min(self._admitted, 1))
        # Nothing may have been read while the answer was made.
        if self._waits_since is not None:
            self._waits_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room when the client has gone."""
        self._timer.cancel()
        self._leave(self._admitted)
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Start a request: one that computes when its packet has been read, and in its round if it is whole then."""
        # It has waited for the answer to an earlier request.
        if not cycle.more_body:
            self.rounds.call(partial(self._start_now, cycle, app))
        elif self._computes and self._in_packet:
            self._put_off = cycle, app
        else:
            self._start_now(cycle, app)

    def _start_now(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._put_off = None
        super()._start_asgi_task(cycle, app)

    def _pass_on(self) -> None:
        """Pass on, in its round, a whole request, or the end of its body if it has been started before."""
        if self._put_off:
            super().on_message_complete()
            self.rounds.call(partial(self._start_now, *self._put_off))
            # Its round may be a later one.
            self._put_off = None
        else:
            self.rounds.call(partial(_end_body, self.cycle))

    def _leave(self, count: int) -> None:
        if self.admission:
            self._admitted -= count
            self.admission.move(-count)

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _is_read(self) -> bool:
        """Return whether the request whose body is being read is the next to be answered."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_started and not self.pipeline

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._as_any_other(data[upgrade.args[0] :]) if self._upgrades else b""
            except httptools.HttpParserError:
                self._refuse(HTTPStatus.BAD_REQUEST, NOT_HTTP)
                return

    def _as_any_other(self, rest: bytes) -> bytes:
        """Return a request without its upgrade to another protocol, which a server may ignore (RFC 9110, 7.8).

        Java's client offers HTTP/2 so with every request; httptools would skip the body. A new parser reads it again.

        Args:
            rest: the bytes after the headers.
        """
        line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = (b"%b: %b" % field for field in self.headers if field[0] != field_name(UPGRADE))
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn's own parser.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join([line, *fields, b"", rest])

    def _wait_for_another(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _wait_for_rest(self) -> None:
        if self._waits_since is None:
            self._waits_since = self.loop.time()

    def _look(self) -> None:
        """Close the connection if the client has kept it waiting for too long; else look again when it may have."""
        left = PATIENCE_SECONDS
        if self._waits_since is not None and self._answered():
            left -= self.loop.time() - self._waits_since
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        elif self._in_head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, TOO_SLOW)
        # The client has sent nothing, or not the rest of a refused request.
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer with the reason, unless an answer was given or has begun, and close."""
        if (self._answered() and not self._in_body) or self._is_read():
            self.transport.write(early_answer(status, message, CLOSE_FIELD))
        self.transport.close()


def _end_body(cycle: RequestResponseCycle) -> None:
    """Tell the application that a body is whole."""
    if not cycle.response_complete:
        cycle.more_body = False
        cycle.message_event.set()
