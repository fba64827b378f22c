"""Counts and times of the requests."""

import time
from collections import Counter
from collections.abc import Iterable

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics.metrics import DEFERRED, REASONS, REFUSED, REQUESTS, SECONDS, observe_all
from serving.routes import ENDPOINTS, metric_of

# The statuses whose series exist from the start.
ANNOUNCED_STATUSES = ("200", "500", "503", "504", "507")


class RequestMetrics:
    """ASGI middleware that counts and times the requests.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        _announce_requests({endpoint.metric for endpoint in ENDPOINTS})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = metric_of(scope["path"])
        start = time.perf_counter()

        async def observing(message: Message) -> None:
            if message["type"] == "http.response.start":
                DEFERRED.add(_count_requests, (path, message["status"], time.perf_counter() - start))
            await send(message)

        await self.app(scope, receive, observing)


def _announce_requests(paths: Iterable[str]) -> None:
    """Start the counters of requests at zero, so that a rate shows the first failure."""
    for path in paths:
        SECONDS.labels(path)
        for status in ANNOUNCED_STATUSES:
            REQUESTS.labels(path, status)
    for reason in REASONS:
        REFUSED.labels(reason)


def _count_requests(answers: list[tuple[str, int, float]]) -> None:
    """Count answers by path and status, and observe their seconds."""
    for (path, status), times in Counter((path, status) for path, status, _ in answers).items():
        REQUESTS.labels(path, str(status)).inc(times)
    for path in {path for path, _, _ in answers}:
        observe_all(SECONDS.labels(path), np.array([seconds for label, _, seconds in answers if label == path]))
