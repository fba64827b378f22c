"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterable, Iterator

from tqdm import tqdm

LINES = 10


def show_batches(starts: range, total: int) -> Iterable[int]:
    """Wrap the first indices of batches over ``total`` images and show how many are done, on stderr."""
    return _bar(starts, total) if sys.stderr.isatty() else _lines(starts, total)


def _bar(starts: range, total: int) -> Iterator[int]:
    with tqdm(total=total, unit=" images") as bar:
        for start in starts:
            yield start
            bar.update(min(starts.step, total - start))


def _lines(starts: range, total: int) -> Iterator[int]:
    told = 0
    for start in starts:
        yield start
        done = min(start + starts.step, total)
        if done * LINES // total > told:
            told = done * LINES // total
            print(f"{done} of {total} images", file=sys.stderr, flush=True)
