"""One JSON line a request, on a logger of its own."""

import asyncio
import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Literal

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.headers import ID_NAME, KEY_NAME, REQUEST_ID, choose_id, field_name, header
from serving.routes import route_of

# nginx's status for a client that went away; nobody receives it.
CLIENT_GONE = 499

Which = Literal["errors", "all", "none"]

logger = logging.getLogger("clustnet.requests")


class RequestLog:
    """ASGI middleware that gives each request an id, which its answer repeats, and logs it.

    The id is the client's own ``X-Request-Id``, if it is up to 128 letters, digits and ``._:+/=-``, or else a new one.
    A line names the path as the service declares it, so that the log has as many names as the service has paths.

    Args:
        app: the application.
        which: the requests that get a line: with a status of 400 or more, all, or none; 499 are clients that went away.
    """

    def __init__(self, app: ASGIApp, which: Which) -> None:
        self.app = app
        self.which = which
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
                field = (field_name(REQUEST_ID), request_id.encode())
                message["headers"] = [*message.get("headers", ()), field]
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, observing)
            # Without an answer BentoML would wait for its timeout, and a shutdown for both.
            if not status:
                await Response(status_code=CLIENT_GONE)(scope, receive, observing)
        except asyncio.CancelledError:
            # BentoML's timeout answers in the place of this service.
            status = status or 504
            raise
        except Exception:
            status = status or 500
            raise
        finally:
            if self.which == "all" or (self.which == "errors" and status >= 400):
                self._write(scope, request_id, status, 1000 * (time.perf_counter() - start), size)

    def _write(self, scope: Scope, request_id: str, status: int, milliseconds: float, size: int) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
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
    """Writes each message as one line to the stderr of that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        try:
            sys.stderr.write(f"{record.getMessage()}\n")
            sys.stderr.flush()
        except OSError:
            self.handleError(record)


def write_to_stderr() -> None:
    """Send the lines to stderr as they are, without the format and the level of BentoML's log."""
    # BentoML disables the loggers that it finds when it sets up its own.
    logger.disabled = False
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(Stderr())
