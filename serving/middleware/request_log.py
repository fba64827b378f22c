"""One JSON line a request, on a logger of its own."""

import asyncio
import itertools
import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.headers import header
from serving.keys.access import KEY_NAME

REQUEST_ID = "X-Request-Id"
REQUEST_ID_FIELD = REQUEST_ID.lower().encode()
SANE = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
OTHER = "other"
PROCESS, NUMBERS = secrets.token_hex(8), itertools.count()  # together a new id; a random one each time costs more
ID_NAME = "clustnet.request_id"  # where the ASGI scope holds it
GONE = 499  # nginx's status for a client that went away; nobody gets it

Which = Literal["errors", "all", "none"]

logger = logging.getLogger("clustnet.requests")


class PathPatterns:
    """Names each path by the pattern it matches, so that the log has as many names as the service has paths.

    Args:
        patterns: paths, in which ``{name}`` stands for one part.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = {pattern: _expression(pattern) for pattern in patterns if "{" in pattern}
        self._plain = frozenset(patterns) - self._patterns.keys()

    def of(self, path: str) -> str:
        """Return the pattern of a path, ``other`` for none."""
        if path in self._plain:
            return path
        return next((name for name, pattern in self._patterns.items() if pattern.fullmatch(path)), OTHER)


class RequestLog:
    """ASGI middleware that gives each request an id, which its answer repeats, and logs it.

    The id is the client's own ``X-Request-Id``, if it is up to 128 letters, digits and ``._:+/=-``, or else a new one.

    Args:
        app: the application.
        which: the requests that get a line: with a status of 400 or more, all, or none; 499 are clients that went away.
        patterns: name the paths.
    """

    def __init__(self, app: ASGIApp, which: Which, patterns: PathPatterns) -> None:
        self.app = app
        self.which = which
        self.patterns = patterns
        write_to_stderr()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = scope[ID_NAME] = choose_id(header(scope["headers"], REQUEST_ID_FIELD) or "")
        status, size = 0, 0

        async def observing(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                field = (REQUEST_ID_FIELD, request_id.encode())
                message["headers"] = [*message.get("headers", ()), field]
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, observing)
            if not status:  # or BentoML's timeout waits for an answer, and a shutdown for the timeout
                await Response(status_code=GONE)(scope, receive, observing)
        except asyncio.CancelledError:
            status = status or 504  # BentoML's timeout, which answers for us
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
            "path": self.patterns.of(scope["path"]),
            "status": status,
            "milliseconds": round(milliseconds, 3),
            "bytes": size,
            "key": scope.get(KEY_NAME),
        }
        logger.info(json.dumps(line))


class Stderr(logging.Handler):
    """Writes each message as one line to what stderr is then."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        try:
            sys.stderr.write(f"{record.getMessage()}\n")
            sys.stderr.flush()
        except OSError:
            self.handleError(record)


def write_to_stderr() -> None:
    """Send the lines to stderr as they are, past the format and the level of BentoML's log."""
    logger.disabled = False  # BentoML disables the loggers that it finds when it sets up its own
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(Stderr())


def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{\w+\}", pattern)))


def choose_id(sent: str) -> str:
    """Return a request's own id, if it can be repeated, or a new one."""
    return sent if SANE.fullmatch(sent) else f"{PROCESS}{next(NUMBERS):016x}"
