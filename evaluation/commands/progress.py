"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

MAX_LINES = 10

Part = TypeVar("Part")


def show_batches(starts: range, what: str = "images") -> Iterable[int]:
    """Return the first indices of batches over ``starts.stop`` images, showing how many are done on stderr.

    Args:
        starts: the first index of each batch.
        what: what the images are called.
    """
    return show_parts(starts, starts.stop, lambda start: min(starts.step, starts.stop - start), what)


def show_parts(parts: Iterable[Part], total: int, size: Callable[[Part], int], what: str = "images") -> Iterator[Part]:
    """Return parts of ``total`` images, showing how many are done on stderr.

    Args:
        parts: the parts, in any order.
        total: the number of images in all parts.
        size: returns the number of images in a part.
        what: what the images are called.
    """
    return (_bar if sys.stderr.isatty() else _lines)(parts, total, size, what)


def _bar(parts: Iterable[Part], total: int, size: Callable[[Part], int], what: str) -> Iterator[Part]:
    """Yield the parts, showing a bar."""
    with tqdm(total=total, unit=f" {what}") as bar:
        for part in parts:
            yield part
            bar.update(size(part))


def _lines(parts: Iterable[Part], total: int, size: Callable[[Part], int], what: str) -> Iterator[Part]:
    """Yield the parts, printing at most ``MAX_LINES`` lines."""
    done = printed = 0
    for part in parts:
        yield part
        done += size(part)
        if done * MAX_LINES // total > printed:
            printed = done * MAX_LINES // total
            print(f"{done} of {total} {what}", file=sys.stderr, flush=True)
