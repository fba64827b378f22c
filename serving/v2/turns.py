"""Turns: computations that leave the event loop free and do not queue without end."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from serving.refusals import Refusal

MOST_WAITING = 64  # requests a worker lets wait; more would only meet the service's timeout
RETRY_SECONDS = 1

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Turns:
    """Runs one computation at a time in a thread, as BentoML does in each worker, and lets a few wait."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self.most_waiting = most_waiting
        self._pending = 0  # counted here, because the limiter learns of a call only after the event loop's next round
        self._limiter = anyio.CapacityLimiter(1)

    async def run(self, compute: Callable[[*Ts], R], *args: *Ts) -> R:
        """Return ``compute(*args)``.

        Raises:
            Refusal: 503, at once, if too many wait already.
        """
        if self._pending > self.most_waiting:
            message = f"{self.most_waiting} requests wait already; ask again in {RETRY_SECONDS} second."
            raise Refusal(503, "overloaded", message)
        self._pending += 1
        try:
            return await anyio.to_thread.run_sync(compute, *args, limiter=self._limiter)
        finally:
            self._pending -= 1
