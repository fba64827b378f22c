"""Notes that are counted together: to write a metric costs more than the rest of a small request's bookkeeping.

Requests on the same core wait while they are counted, so this is done in small pieces; only ``flush`` does all on end.
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

SECONDS = 0.2
PIECE = 64  # notes counted on end; of requests of one image they take a quarter of a millisecond
PART = 8  # a piece is this part of a heap of notes, or a worker at its top load might never have counted all
PAUSE = 0.002  # seconds, in which requests that waited catch up
SHOWN_EVERY = 5  # times that notes are counted: to show drift costs as much as to count three hundred predictions

END = object()

Count = Callable[[list[Any]], None]

logger = logging.getLogger("bentoml.clustnet")


class Tally:
    """Takes notes at once, and counts them together shortly after.

    A thread of its own waits till then. It counts itself, or has the event loop count between requests: of two threads
    that compute, each waits for the interpreter whenever the other has it.

    Args:
        seconds: about how long notes wait before they are counted.
        most: how many notes may wait, where to count them may take long; past it the oldest are lost.
        piece: how many notes of a kind are counted on end, more where many wait.
        in_loop: whether the event loop counts, if the first note comes from one.
    """

    def __init__(
        self, seconds: float = SECONDS, most: int | None = None, piece: int = PIECE, in_loop: bool = False
    ) -> None:
        self._seconds = seconds
        self._piece = piece
        self._notes: deque[tuple[Count, Any]] = deque(maxlen=most)
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
        """Count what has been noted till now, and show what there is to show."""
        self._sort()
        while self._count_a_piece():
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

    def _count_a_piece(self) -> bool:
        """Count some of the sorted notes of one kind; false where there are none."""
        with self._counting:
            if not self._sorted:
                return False
            count, notes = next(iter(self._sorted.items()))
            piece = min(max(self._piece, len(notes) // PART), len(notes))
            _call(count, [notes.popleft() for _ in range(piece)])
            if not notes:
                del self._sorted[count]
            return True

    def _show_one(self, what: Hashable) -> None:
        with self._counting:
            show = self._shows.pop(what, None)
            if show:  # it has not been shown by another thread
                _call(show)

    def _start(self) -> None:
        """Start the thread with the first note, in the process that serves and not in the one that starts it."""
        if self._in_loop:
            with suppress(RuntimeError):  # there is none in this thread
                self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="tally", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def _run(self) -> None:
        for turn in itertools.count(1):
            self._some.wait()
            time.sleep(self._seconds)
            self._some.clear()
            steps = self._steps(shows=turn % SHOWN_EVERY == 0)
            if not self._handed_to_loop(steps):
                for _ in steps:
                    time.sleep(PAUSE)

    def _handed_to_loop(self, steps: Iterator[None]) -> bool:
        """Have the event loop do these steps; false where there is none, or it has ended."""
        if not self._loop:
            return False
        try:
            self._loop.call_soon_threadsafe(self._go_on, self._loop, steps)
        except RuntimeError:
            self._loop = None
        return self._loop is not None

    def _go_on(self, loop: asyncio.AbstractEventLoop, steps: Iterator[None]) -> None:
        if next(steps, END) is not END:
            loop.call_later(PAUSE, self._go_on, loop, steps)

    def _steps(self, shows: bool) -> Iterator[None]:
        """Count what has been noted till now, and show what there is if ``shows``, with a pause at each step."""
        self._sort()
        while self._count_a_piece():
            yield
        for what in list(self._shows) if shows else ():  # not what is given meanwhile
            self._show_one(what)
            yield
        if self._shows:
            self._some.set()  # till their turn comes


def _call(function: Callable[..., None], *args: Any) -> None:
    """Count or show, whatever comes of it: the thread must live on, or all notes would be kept for ever."""
    try:
        function(*args)
    except Exception:
        logger.exception("Some of what happened could not be counted.")
