"""Progress of a step: a bar on a terminal, plain lines with the time left elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

# Between two lines off a terminal.
LINE_SECONDS = 10.0

T = TypeVar("T")


def show(parts: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the parts, showing on stderr how many are done and how long the rest will take.

    Args:
        parts: what is worked through.
        total: how many there are.
        what: what is done, such as ``embed``.
    """
    if sys.stderr.isatty():
        yield from tqdm(parts, total=total, desc=what, leave=False)
        return
    began = shown = time.monotonic()
    for done, part in enumerate(parts, 1):
        yield part
        now = time.monotonic()
        if now - shown >= LINE_SECONDS and done < total:
            shown = now
            left = (now - began) / done * (total - done)
            print(f"{what}: {done:,} of {total:,}, {time_text(left)} left", file=sys.stderr, flush=True)


def time_text(seconds: float) -> str:
    """Return a duration in words, as in ``2 min 5 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
