"""uvicorn's HTTP protocol on httptools, with the limits that it lacks, and refusals under overload that cost little.

At three times the top load, 0.74 of the top load is answered this way, and 0.46 with uvicorn's own protocol, where each
refusal passes through the application. h11, uvicorn's other parser, has most of these limits, but makes a request of
one image 14 % more expensive; ``limit_concurrency`` gains nothing (benchmarks/README.md).

uvicorn offers no option for any of this. BentoML's worker chooses ``http="auto"``, so ``use_bounded_protocol`` puts
``BoundedProtocol`` under that name into uvicorn's table of protocols.
"""

import asyncio
import socket
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.gate import GATE, ORIGINS, Gate
from serving.headers import REQUEST_ID, UPGRADE, field_name, header
from serving.metrics.metrics import count_unread
from serving.middleware.cors import cors_fields
from serving.routes import Endpoint, endpoint_of
from serving.wire.early_answers import CLOSE_FIELD, RETRY_FIELD, early_answer
from serving.wire.flow import Flow

# The most bytes of a request besides its body; h11, uvicorn's other parser, has the same limit.
MAX_OVERHEAD_BYTES = 64 * 1024
# Time for a request to arrive; more than a body may take, so that a slow body is answered with 408 first.
PATIENCE_SECONDS = 30.0
# The most requests of a connection that wait behind the one that is being answered.
MAX_REQUESTS_IN_LINE = 16
# How long a client may leave an answer without taking any of it.
UNREAD_SECONDS = 60.0
TOO_MUCH = "The request's headers are over 64 KiB; send fewer or shorter headers."
TOO_SLOW = f"The request's headers took over {PATIENCE_SECONDS:g} seconds to arrive; send them faster."
NOT_HTTP = "The request is not HTTP, or its headers are malformed; use an HTTP library to write it."


def use_bounded_protocol() -> None:
    """Have uvicorn use ``BoundedProtocol`` if its caller leaves the choice to it, as BentoML does."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedProtocol.__name__}"


class EnoughError(Exception):
    """Ends the parsing: enough requests wait for their answers."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses endless headers, trailers and chunk sizes, many requests in line, and what the gate has no room for.

    It closes connections whose clients send no request, or not all of one, or do not take an answer.
    """

    flow: Flow
    _timer: asyncio.TimerHandle

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Set when the application starts.
        self.gate: Gate | None = self.app_state.get(GATE)
        self.origins: tuple[str, ...] = self.app_state.get(ORIGINS, ())
        # The service has no web sockets, and uvicorn's protocol for them would take over the connection.
        self.ws_protocol_class = None
        # Bytes received after the packet in which the request began, and bytes of its body.
        self._received = self._body = 0
        self._in_head = self._in_body = self._upgrades = self._refused = self._closes = False
        # Since when the rest of a request is missing; None once it is whole.
        self._waits_since: float | None = None
        self._endpoint: Endpoint | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Wait for a request, for a limited time."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        connection = transport.get_extra_info("socket")
        # Only Linux has this option.
        if connection and connection.family != getattr(socket, "AF_UNIX", None) and hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * UNREAD_SECONDS))
        self._wait_for_rest()
        self._timer = self.loop.call_later(PATIENCE_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a packet."""
        if self.flow.ended:
            return
        self._wait_for_rest()
        self._received += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._received > MAX_OVERHEAD_BYTES + 2 * self._body and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TOO_MUCH)

    def on_message_begin(self) -> None:
        """Begin a request, or refuse further ones."""
        if len(self.pipeline) >= MAX_REQUESTS_IN_LINE:
            # The answer to the last request in line closes the connection.
            self.cycle.keep_alive = False
            self.flow.ended = True
            raise EnoughError
        # The keep-alive timer of an earlier request in the same packet.
        self._unset_keepalive_if_required()
        self._wait_for_rest()
        self._received = self._body = 0
        self._in_head, self._refused = True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, if there is room for it."""
        self._in_head = False
        self._upgrades = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._upgrades:
            return
        if self.gate and self._computes():
            if self.gate.full:
                self._refuse_unread(self.gate)
                return
            self.gate.expect()
        super().on_headers_complete()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body += len(body)
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if self._upgrades:
            return
        self._waits_since, self._in_body = None, False
        if self._refused and self._closes:
            self.transport.close()
        elif self._refused or self._answered():
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of a request once all earlier ones have their answers."""
        # Nothing may have been read while the answer was made.
        if self._waits_since is not None:
            self._waits_since = self.loop.time()
        super().on_response_complete()

    def _computes(self) -> bool:
        """Return whether the request asks for a turn now; those in line behind another do not."""
        if self.parser.get_method() != b"POST" or not self._answered():
            return False
        self._endpoint = endpoint_of(self.url.partition(b"?")[0].decode("latin-1"))
        return self._endpoint is not None and self._endpoint.computes

    def _refuse_unread(self, gate: Gate) -> None:
        """Refuse a request; its body is read but not kept."""
        self._refused = self._in_body = True
        self._closes = not self.parser.should_keep_alive() or self.parser.get_http_version() == "1.0"
        fields = RETRY_FIELD + cors_fields(self.origins, self.headers) + CLOSE_FIELD * self._closes
        sent_id = header(self.headers, REQUEST_ID) or ""
        self.transport.write(early_answer(HTTPStatus.SERVICE_UNAVAILABLE, str(gate.refusal()), fields, sent_id))
        if self._endpoint:
            count_unread(self._endpoint.metric)

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._as_any_other(data[upgrade.args[0] :]) if self._upgrades else b""
            except httptools.HttpParserError:
                if not self.flow.ended:
                    self._refuse(HTTPStatus.BAD_REQUEST, NOT_HTTP)
                return

    def _as_any_other(self, rest: bytes) -> bytes:
        """Return a request without its upgrade to another protocol, which a server may ignore (RFC 9110, 7.8).

        Java's client offers HTTP/2 this way with every request, and httptools would skip the body, so a new parser
        reads the request again.

        Args:
            rest: the bytes after the headers.
        """
        line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = (b"%b: %b" % field for field in self.headers if field[0] != field_name(UPGRADE))
        self.parser = httptools.HttpRequestParser(self)
        # As for uvicorn's own parser.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join([line, *fields, b"", rest])

    def _wait_for_rest(self) -> None:
        if self._waits_since is None:
            self._waits_since = self.loop.time()

    def _look(self) -> None:
        """Close the connection if the client has kept it waiting for too long; else look again when that may be."""
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
        unread = self.cycle is not None and self.cycle.more_body and not self.cycle.response_started
        if (self._answered() and not self._in_body) or (unread and not self.pipeline):
            self.transport.write(early_answer(status, message, CLOSE_FIELD))
        self.transport.close()
