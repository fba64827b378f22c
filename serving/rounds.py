"""Rounds of the event loop: in each a few of the requests that compute are passed on.

Connections are read and written only between rounds. Where three hundred small predictions began in the same round,
no request was answered or refused before the last of them was computed, a fifth of a second later.
"""

import asyncio
from collections import deque
from collections.abc import Callable

# Small predictions of about ten milliseconds together; with fewer, refusals under overload cost more.
MAX_CALLS_PER_ROUND = 16


class Rounds:
    """Calls a few functions in each round of the running event loop, in the order they were given.

    Args:
        max_calls: how many in a round.
    """

    def __init__(self, max_calls: int = MAX_CALLS_PER_ROUND) -> None:
        self.max_calls = self._left = max_calls
        self._later: deque[Callable[[], None]] = deque()
        # Whether the next round is scheduled.
        self._scheduled = False

    def call(self, function: Callable[[], None]) -> None:
        """Call a function now, or in a later round if this one is full."""
        if self._left:
            self._left -= 1
            function()
        else:
            self._later.append(function)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._left, self._scheduled = self.max_calls, False
        for _ in range(min(self.max_calls, len(self._later))):
            self.call(self._later.popleft())
