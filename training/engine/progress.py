"""Progress of long work: a bar on a terminal, with the time left, and nothing where stderr is not a terminal."""

from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

from training.engine.processes import is_first

T = TypeVar("T")


def progress(parts: Iterable[T], total: int, what: str, unit: str) -> Iterable[T]:
    """Return the parts of some work, showing how many are done.

    Args:
        parts: the parts of the work.
        total: how many there are.
        what: name of the work, such as ``partition``.
        unit: name of one part.
    """
    bar: Iterable[T] = tqdm(parts, total=total, desc=what, unit=unit, leave=False, disable=_hidden())
    return bar


def steps(total: int, what: str) -> "tqdm[Any]":
    """Return a bar for work in ``total`` steps: a context manager, whose ``update()`` counts one of them."""
    return tqdm(total=total, desc=what, unit="step", leave=False, disable=_hidden())


def unwatched(batches: Iterable[T], total: int) -> Iterable[T]:  # noqa: ARG001 - a ``Progress`` is given it
    """Return the batches of an epoch, showing nothing."""
    return batches


def _hidden() -> bool | None:
    """Return True in all processes but the first; there, None hides the bar where there is no terminal."""
    return None if is_first() else True
