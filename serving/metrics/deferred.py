"""Notes that are counted together: to write a metric costs more than the rest of a small request's bookkeeping.

Requests on the same core wait meanwhile, so notes are counted in small batches; only ``flush`` counts all without a
pause.
"""

import asyncio
import atexit
import itertools
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from typing import Any

# From a note until it is counted.
WAIT_SECONDS = 0.2
# Notes counted without a pause; of requests of one image they take a quarter of a millisecond.
BATCH_NOTES = 64
# A batch is at least this fraction of the waiting notes, or a worker at its top load might never have counted all.
BATCH_DIVISOR = 8
# In which requests that waited catch up.
PAUSE_SECONDS = 0.002
# Rounds of counting between shows: to show drift costs as much as to count three hundred predictions.
ROUNDS_PER_SHOW = 5

END = object()

Count = Callable[[list[Any]], None]

logger = logging.getLogger("bentoml.clustnet")


class DeferredCounts:
    """Takes notes at once, and counts them together shortly after.

    A thread of its own waits until then. It counts itself, or has the event loop count between requests: of two threads
    that compute, each waits for the interpreter while the other has it.

    Args:
        seconds: about how long notes wait before they are counted.
        max_notes: how many notes may wait; above it the oldest are lost, None for no limit.
        batch: how many notes of a kind are counted without a pause, more where many wait.
        in_loop: whether the event loop counts, where the first note comes from one.
    """

    def __init__(
        self,
        seconds: float = WAIT_SECONDS,
        max_notes: int | None = None,
        batch: int = BATCH_NOTES,
        in_loop: bool = False,
    ) -> None:
        self._seconds = seconds
        self._batch = batch
        self._notes: deque[tuple[Count, Any]] = deque(maxlen=max_notes)
        self._sorted: defaultdict[Count, deque[Any]] = defaultdict(deque)
        self._shows: dict[Hashable, Callable[[], None]] = {}
        self._some = threading.Event()
        self._counting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._in_loop = in_loop
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, count: Count, note: Any) -> None:
        """Have ``count`` called with a list of notes that holds this one; any thread may add."""
        self._notes.append((count, note))
        self._wake()

    def show(self, what: Hashable, show: Callable[[], None]) -> None:
        """Have ``show`` called when notes have been counted a few times, unless another is given for the same."""
        self._shows[what] = show
        self._wake()

    def flush(self) -> None:
        """Count all notes, and call all that waits to be shown."""
        self._sort()
        while self._count_a_batch():
            pass
        for what in list(self._shows):
            self._show_one(what)

    def _wake(self) -> None:
        if not self._some.is_set():
            self._some.set()
        if self._thread is None:
            self._start()

    def _sort(self) -> None:
        with self._counting:
            for _ in range(len(self._notes)):
                count, note = self._notes.popleft()
                self._sorted[count].append(note)

    def _count_a_batch(self) -> bool:
        """Count some of the sorted notes of one kind; return False where there are none."""
        with self._counting:
            if not self._sorted:
                return False
            count, notes = next(iter(self._sorted.items()))
            batch = min(max(self._batch, len(notes) // BATCH_DIVISOR), len(notes))
            _call(count, [notes.popleft() for _ in range(batch)])
            if not notes:
                del self._sorted[count]
            return True

    def _show_one(self, what: Hashable) -> None:
        with self._counting:
            show = self._shows.pop(what, None)
            # Another thread may have shown it.
            if show:
                _call(show)

    def _start(self) -> None:
        """Start the thread at the first note, so that it runs in the process that serves and not in its parent."""
        if self._in_loop:
            # Another thread than the event loop's has none.
            with suppress(RuntimeError):
                self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="deferred-counts", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def _run(self) -> None:
        for turn in itertools.count(1):
            self._some.wait()
            time.sleep(self._seconds)
            self._some.clear()
            steps = self._steps(shows=turn % ROUNDS_PER_SHOW == 0)
            if not self._given_to_loop(steps):
                for _ in steps:
                    time.sleep(PAUSE_SECONDS)

    def _given_to_loop(self, steps: Iterator[None]) -> bool:
        """Have the event loop take these steps; return False where there is none, or it has ended."""
        if not self._loop:
            return False
        try:
            self._loop.call_soon_threadsafe(self._go_on, self._loop, steps)
        except RuntimeError:
            self._loop = None
        return self._loop is not None

    def _go_on(self, loop: asyncio.AbstractEventLoop, steps: Iterator[None]) -> None:
        if next(steps, END) is not END:
            loop.call_later(PAUSE_SECONDS, self._go_on, loop, steps)

    def _steps(self, shows: bool) -> Iterator[None]:
        """Count the notes of this moment, and call what waits to be shown if ``shows``; each step ends with a pause."""
        self._sort()
        while self._count_a_batch():
            yield
        # What is given meanwhile waits for the next round.
        for what in list(self._shows) if shows else ():
            self._show_one(what)
            yield
        if self._shows:
            # The thread goes on until their turn comes.
            self._some.set()


def _call(function: Callable[..., None], *args: Any) -> None:
    """Count or show, and log any failure: without the thread all notes would stay in memory."""
    try:
        function(*args)
    except Exception:
        logger.exception("Some of what happened could not be counted.")
