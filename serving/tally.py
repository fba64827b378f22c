"""Notes that are counted together: to write a metric costs more than the rest of a small request's bookkeeping."""

import atexit
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

SECONDS = 0.2
PAUSE = 0.01  # seconds after each kind of notes: counted on end, they would hold up requests by milliseconds

Count = Callable[[list[Any]], None]

logger = logging.getLogger("bentoml.clustnet")


class Tally:
    """Takes notes at once, and counts them together shortly after, in a thread of its own.

    Args:
        seconds: the longest time from a note to the next counting, of one kind of notes after the other.
        most: how many notes may wait, where to count them may take long; past it the oldest are lost.
    """

    def __init__(self, seconds: float = SECONDS, most: int | None = None) -> None:
        self._seconds = seconds
        self._notes: deque[tuple[Count, Any]] = deque(maxlen=most)
        self._sorted: defaultdict[Count, list[Any]] = defaultdict(list)
        self._some = threading.Event()
        self._counting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, count: Count, note: Any) -> None:
        """Have ``count`` called with a list of notes that holds this one; any thread may add."""
        self._notes.append((count, note))
        if not self._some.is_set():
            self._some.set()
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Count what has been noted till now."""
        self._sort()
        while self._count_a_kind():
            pass

    def _sort(self) -> None:
        with self._counting:
            for _ in range(len(self._notes)):
                count, note = self._notes.popleft()
                self._sorted[count].append(note)

    def _count_a_kind(self) -> bool:
        """Count the sorted notes of one kind; false where there are none."""
        with self._counting:
            if not self._sorted:
                return False
            count = next(iter(self._sorted))  # in the order of the notes: what is counted, then what is shown of it
            _count(count, self._sorted.pop(count))
            return True

    def _start(self) -> None:
        """Start the thread with the first note, in the process that serves and not in the one that starts it."""
        self._thread = threading.Thread(target=self._run, name="tally", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(self._seconds)
            self._some.clear()
            self._sort()
            while self._count_a_kind():
                time.sleep(PAUSE)


def _count(count: Count, notes: list[Any]) -> None:
    """Count, whatever comes of it: the thread must live on, or all notes would be kept for ever."""
    try:
        count(notes)
    except Exception:
        logger.exception("Some of what happened could not be counted.")
