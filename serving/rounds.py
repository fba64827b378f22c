"""Rounds of the event loop: a few of the requests that compute are handed on in each.

Connections are read and written between rounds alone. Where three hundred small predictions began in the same round,
nobody was answered or refused before the last of them was computed, a fifth of a second later.
"""

import asyncio
from collections import deque
from collections.abc import Callable

MOST = 16  # small predictions in a round, about ten milliseconds; with fewer, refusals under overload cost more


class Rounds:
    """Calls a few functions in each round of the running event loop, in the order they were given.

    Args:
        most: how many in a round.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = self._left = most
        self._later: deque[Callable[[], None]] = deque()
        self._asked = False  # for the next round

    def call(self, function: Callable[[], None]) -> None:
        """Call a function now, or in a later round if this one has had its own."""
        if self._left:
            self._left -= 1
            function()
        else:
            self._later.append(function)
        if not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._left, self._asked = self.most, False
        for _ in range(min(self.most, len(self._later))):
            self.call(self._later.popleft())
