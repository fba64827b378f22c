"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterable, Iterator

from tqdm import tqdm

LINES = 10


def show_batches(starts: range, what: str = "images") -> Iterable[int]:
    """Wrap the first indices of batches over ``starts.stop`` images and show how many are done, on stderr.

    Args:
        starts: the first index of each batch.
        what: what the images are called.
    """
    return _bar(starts, what) if sys.stderr.isatty() else _lines(starts, what)


def _bar(starts: range, what: str) -> Iterator[int]:
    with tqdm(total=starts.stop, unit=f" {what}") as bar:
        for start in starts:
            yield start
            bar.update(min(starts.step, starts.stop - start))


def _lines(starts: range, what: str) -> Iterator[int]:
    total, told = starts.stop, 0
    for start in starts:
        yield start
        done = min(start + starts.step, total)
        if done * LINES // total > told:
            told = done * LINES // total
            print(f"{done} of {total} {what}", file=sys.stderr, flush=True)
