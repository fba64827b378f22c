"""Progress of a step: a bar on a terminal, plain lines with the time left elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

# Time between two lines where stderr is not a terminal.
LINE_SECONDS = 10.0

T = TypeVar("T")


def show(parts: Iterable[T], sizes: Sequence[int], what: str) -> Iterator[T]:
    """Yield the parts, showing on stderr how many images are done and how long the rest will take.

    Args:
        parts: the parts of the work.
        sizes: number of images in each part.
        what: name of the work, such as ``embed``.
    """
    total = sum(sizes)
    if sys.stderr.isatty():
        with tqdm(total=total, desc=what, unit="image", leave=False) as bar:
            for part, size in zip(parts, sizes, strict=True):
                yield part
                bar.update(size)
        return
    done, began = 0, time.monotonic()
    shown = began
    for part, size in zip(parts, sizes, strict=True):
        yield part
        done, now = done + size, time.monotonic()
        if now - shown >= LINE_SECONDS and done < total:
            shown = now
            left = (now - began) / done * (total - done)
            print(f"{what}: {done:,} of {total:,} images, {time_text(left)} left", file=sys.stderr, flush=True)


def time_text(seconds: float) -> str:
    """Return a duration in words, as in ``2 min 5 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
