"""The record of each request: its id, its metrics, and one JSON line on a logger of its own."""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.headers import ID_NAME, KEY_NAME, REQUEST_ID, choose_id, field_name, header
from serving.metrics.metrics import announce_requests, count_request
from serving.routes import metric_of, route_of

# The limit on lines for errors; clients could otherwise fill the disk with them.
MAX_LINES_PER_SECOND = 100

Which = Literal["errors", "all", "none"]

logger = logging.getLogger("clustnet.requests")


class RequestLog:
    """ASGI middleware that gives each request an id, which the answer repeats, and counts, times and logs the request.

    The id is the client's own ``X-Request-Id``, if it is up to 128 letters, digits and ``._:+/=-``, or else a new one.
    A line names the path as the service declares it, so that the log has as many names as the service has paths.

    Args:
        app: the application.
        which: the requests that get a line: those with a status of 400 or more, all, or none. A status of 499 means
            that the client went away.
    """

    def __init__(self, app: ASGIApp, which: Which) -> None:
        self.app = app
        self.which = which
        self._second, self._lines = 0, 0
        announce_requests()
        write_to_stderr()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = scope[ID_NAME] = choose_id(header(scope["headers"], REQUEST_ID) or "")
        status, size = 0, 0

        async def observing(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                count_request(metric_of(scope["path"]), status, time.perf_counter() - start)
                field = (field_name(REQUEST_ID), request_id.encode())
                message["headers"] = [*message.get("headers", ()), field]
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, observing)
        except Exception:
            status = status or 500
            raise
        finally:
            if self.which == "all" or (self.which == "errors" and status >= 400 and self._has_room()):
                self._write(scope, request_id, status, 1000 * (time.perf_counter() - start), size)

    def _has_room(self) -> bool:
        """Return whether another line may be written this second; log once that further ones are left out."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines == MAX_LINES_PER_SECOND + 1:
            logger.warning(json.dumps({"time": _now(), "left_out": f"lines over {MAX_LINES_PER_SECOND} a second"}))
        return self._lines <= MAX_LINES_PER_SECOND

    def _write(self, scope: Scope, request_id: str, status: int, milliseconds: float, size: int) -> None:
        line = {
            "time": _now(),
            "request_id": request_id,
            "method": scope["method"],
            "path": route_of(scope["path"]),
            "status": status,
            "milliseconds": round(milliseconds, 3),
            "bytes": size,
            "key": scope.get(KEY_NAME),
        }
        logger.info(json.dumps(line))


class Stderr(logging.Handler):
    """Logging handler that writes each message as one line to what ``sys.stderr`` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        try:
            sys.stderr.write(f"{record.getMessage()}\n")
            sys.stderr.flush()
        except OSError:
            self.handleError(record)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_to_stderr() -> None:
    """Send the lines to stderr as they are, without the format and the level of BentoML's log."""
    # BentoML disables the loggers that it finds when it sets up its own.
    logger.disabled = False
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(Stderr())
