"""A review in progress: the current subtypes, and the record to which every action goes first."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from clustnet.corrections.actions import AnyAction, Change
from clustnet.corrections.log import Log
from clustnet.corrections.state import Found, History, Review, add


class Session:
    """The review of one run; threads may share it, and processes may have one each.

    Args:
        run: the run's folder.
        found: what the run found.
        say: called with a sentence about each repair.

    Raises:
        UserError: the record of the review is damaged.
    """

    def __init__(self, run: Path, found: Found, say: Callable[[str], None] = print) -> None:
        self.found = found
        self.review = Review.of_run(found)
        self.history = History([], [])
        self._log = Log(run, found.digest(), say)
        self._lock = threading.Lock()
        self.refresh()

    def now(self) -> tuple[Review, History, int]:
        """Return the state, the history and the serial number of the last action, all from the same moment."""
        with self._lock:
            return self.review, self.history, self._log.serial

    @property
    def serial(self) -> int:
        """The serial number of the last action."""
        return self._log.serial

    def refresh(self) -> None:
        """Take in what other processes did."""
        with self._lock:
            self._prepared(self._log.news())()

    def do(self, actions: Sequence[AnyAction], expected: int | None = None) -> None:
        """Do actions: all of them or none.

        Args:
            actions: the actions.
            expected: the serial number that they are meant to follow; None for any.

        Raises:
            StaleError: others did something since.
            UserError: one of them cannot be done.
        """
        with self._lock:
            self._log.append(actions, self._prepared, expected)

    def _prepared(self, actions: Sequence[AnyAction]) -> Callable[[], None]:
        """Return a function that moves the state on by some actions; raise if one cannot be done."""
        history = History(list(self.history.done), list(self.history.undone))
        for action in actions:
            add(history, action)
        kept = _common(self.history.done, history.done)
        if kept < len(self.history.done):
            review, kept = Review.of_run(self.found), 0
        else:
            review = self.review.copy()
        for change in history.done[kept:]:
            review.apply(change)

        def done() -> None:
            self.review, self.history = review, history

        return done


def _common(one: Sequence[Change], other: Sequence[Change]) -> int:
    """Return the number of actions with which both histories begin."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (left, right) in enumerate(pairs) if left is not right), min(len(one), len(other)))
