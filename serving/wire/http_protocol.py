"""uvicorn's HTTP protocol on httptools, which is faster than Python but has no limits, with limits."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar

import httptools
from starlette.types import ASGIApp
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.admission import Admission
from serving.early_answers import CLOSE_FIELD, early_answer
from serving.headers import HOST, UPGRADE, field_name
from serving.rounds import Rounds

# Of a request beside its body; h11, uvicorn's other parser, has the same limit.
MAX_OVERHEAD_BYTES = 64 * 1024
# For a request to be whole; more than a body may take, so that a slow body is answered with 408 first.
PATIENCE_SECONDS = 30.0
# Of a connection, beside the one that is being answered.
MAX_REQUESTS_IN_LINE = 16
# The ASGI scope's own key: whether the request computes, while it is in line.
COMPUTES = "clustnet.computes"
TOO_MUCH = "The request's headers are over 64 KiB; send fewer or shorter ones."
TOO_SLOW = f"The request's headers took over {PATIENCE_SECONDS:g} seconds to arrive; send them at once."
NOT_HTTP = "The request is not HTTP, or its headers are malformed; let a client's library write it."
WRONG_HOST = "The request has no Host or several; send one Host, the name of this service."


class HeadError(Exception):
    """Ends the parsing: status and message of the answer to a request whose headers cannot be taken."""


class EnoughError(Exception):
    """Ends the parsing: enough requests wait for their answers."""


class Flow(FlowControl):
    """Reads on only when what was read has its answer, and the client takes the answers.

    Args:
        transport: the connection.
        line: the requests that wait for the answers to earlier ones.
    """

    def __init__(self, transport: asyncio.Transport, line: Collection[object]) -> None:
        super().__init__(transport)
        self._line = line
        # Whether nothing more is read, ever.
        self.ended = False

    def resume_reading(self) -> None:
        """Read on, if it is time."""
        if not (self._line or self.ended or self.write_paused or self._transport.is_closing()):
            super().resume_reading()

    def pause_writing(self) -> None:
        """Let the answers wait that the client does not take, and read nothing meanwhile."""
        super().pause_writing()
        self.pause_reading()

    def resume_writing(self) -> None:
        """Write on, and read on."""
        super().resume_writing()
        self.resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """Refuses requests with more headers, trailers and chunk sizes than body and 64 KiB, and those without room.

    It closes connections that send no request, or not all of one, or many without waiting for answers, and passes on a
    few requests a round.
    """

    admission: ClassVar[Admission | None] = None
    rounds: ClassVar[Rounds] = Rounds()
    # Returns the application that answers, from uvicorn's.
    way: ClassVar[Callable[[ASGIApp], ASGIApp]] = staticmethod(lambda app: app)

    flow: Flow
    _timer: asyncio.TimerHandle

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = BoundedProtocol.way(self.app)
        # There are no web sockets, and uvicorn's protocol would take the connection over.
        self.ws_protocol_class = None
        # Bytes since the packet in which the request began, which is not counted; of that packet; of the last one.
        self._received = self._first_packet = self._packet = 0
        self._body = 0
        self._in_packet = self._in_head = self._in_body = self._upgrades = False
        self._computes = self._turned_away = self._closes = False
        # Whether a request is whole and being answered; those in line behind it do not count.
        self._admitted = False
        # The request that starts once its packet has been read.
        self._put_off: tuple[RequestResponseCycle, ASGI3Application] | None = None
        # Since when the rest of a request is missing; None once it is whole.
        self._waits_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Wait for a request, with a limit."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self._wait_for_rest()
        self._timer = self.loop.call_later(PATIENCE_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        """Take a packet."""
        if self.flow.ended:
            return
        self._wait_for_rest()
        self._packet = len(data)
        self._received += self._packet
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
        """Begin a request, or take no more of them."""
        if len(self.pipeline) >= MAX_REQUESTS_IN_LINE:
            # The last in line, whose answer closes the connection.
            self.cycle.keep_alive = False
            self.flow.ended = True
            raise EnoughError
        # Of an earlier request in the same packet.
        self._unset_keepalive_if_required()
        self._wait_for_rest()
        self._received = self._body = 0
        self._first_packet = self._packet
        self._in_head, self._turned_away = True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, if there is room for it."""
        self._in_head = False
        self._check_head()
        self._upgrades = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._upgrades:
            self._begin()
            self._in_body = True

    def _check_head(self) -> None:
        # Mostly a look at the packets is enough.
        large = self._first_packet + self._received > MAX_OVERHEAD_BYTES
        if large and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_OVERHEAD_BYTES:
            raise HeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TOO_MUCH)
        hosts = [name for name, _ in self.headers].count(field_name(HOST))
        # HTTP/1.0 may have none.
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            raise HeadError(HTTPStatus.BAD_REQUEST, WRONG_HOST)

    def _begin(self) -> None:
        path = self.url.partition(b"?")[0].decode("latin-1")
        admission = self.admission if self.parser.get_method() == b"POST" else None
        self._computes = admission is not None and admission.takes(path, self.headers)
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
        elif self.pipeline:
            self.scope[COMPUTES] = self._computes  # type: ignore[literal-required] # uvicorn has none of its own
            super().on_message_complete()
        elif self._computes:
            self._admit()
            self._pass_on()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Make room when an answer is complete."""
        self._leave()
        # Nothing may have been read while the answer was made.
        if self._waits_since is not None:
            self._waits_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room when the client has gone."""
        self._timer.cancel()
        self._leave()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Start a request: one that computes when its packet has been read, and in its round if it is whole then."""
        # It has waited for the answer to an earlier request.
        if not cycle.more_body:
            if cycle.scope.get(COMPUTES):
                self._admit()
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

    def _admit(self) -> None:
        if self.admission:
            self._admitted = True
            self.admission.move(1)

    def _leave(self) -> None:
        if self.admission and self._admitted:
            self._admitted = False
            self.admission.move(-1)

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
            except httptools.HttpParserError as error:
                if not self.flow.ended:
                    self._refuse(*_reason(error))
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


def _reason(error: httptools.HttpParserError) -> tuple[HTTPStatus, str]:
    """Return the status and the message of the answer to what cannot be parsed."""
    cause = error.__context__
    return cause.args if isinstance(cause, HeadError) else (HTTPStatus.BAD_REQUEST, NOT_HTTP)


def _end_body(cycle: RequestResponseCycle) -> None:
    """Tell the application that a body is whole."""
    if not cycle.response_complete:
        cycle.more_body = False
        cycle.message_event.set()
