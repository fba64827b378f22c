"""The engines of the steps ``read`` and ``embed``: threads of this process, or Ray."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Yields the number of each item with what the work makes of it, as they are done.

    ``make`` returns what works on an item; every process of the engine calls it once.
    """

    def __call__(
        self, make: Callable[[], Callable[[Item], Result]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Work on the items."""


def on_threads(make: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
    """Work on the items in this process, one thread a core; an ``Engine``."""
    if not items:
        return
    work = make()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from enumerate(pool.map(work, items))
