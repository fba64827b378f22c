"""The engines of the steps ``read`` and ``embed``: threads of this process, or Ray."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Yields the index and the result of each item as it is done.

    ``make`` returns the function that works on an item; every process of the engine calls ``make`` once.
    """

    def __call__(
        self, make: Callable[[], Callable[[Item], Result]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Work on the items."""


def on_threads(make: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
    """Work on the items in this process, with one thread per core; an ``Engine``."""
    if not items:
        return
    work = make()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from enumerate(pool.map(work, items))
