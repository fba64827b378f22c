"""Metrics counted in batches: counting each event at once would make a request of one image 20 % more expensive."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

# How long notes wait until they are counted.
WAIT_SECONDS = 0.2
# Notes counted without a pause; for requests of one image this takes half a millisecond.
BATCH_NOTES = 128
# A batch is at least the waiting notes divided by this, or a worker at its top load might never count them all.
BATCH_DIVISOR = 8
# The pause after a batch, in which waiting requests catch up.
PAUSE_SECONDS = 0.002

Count = Callable[[list[Any]], None]

logger = logging.getLogger("bentoml.clustnet")


class DeferredCounts:
    """Takes notes from any thread without delay, and counts them together shortly afterwards, between requests."""

    def __init__(self) -> None:
        self._notes: deque[tuple[Count, Any]] = deque()

    def add(self, count: Count, note: Any) -> None:
        """Have ``count`` called with a list of notes that holds this one."""
        self._notes.append((count, note))

    def flush(self) -> None:
        """Count all notes."""
        while self._notes:
            self._count_some(len(self._notes))

    async def run(self) -> None:
        """Count in the event loop, as long as it runs; a thread and the one that computes would wait for each other."""
        while True:
            await asyncio.sleep(WAIT_SECONDS)
            # Notes that come meanwhile wait for the next time: under load, each batch would otherwise hold only a few
            # of them, and cost nearly as much as a full one.
            waiting = len(self._notes)
            size = max(BATCH_NOTES, waiting // BATCH_DIVISOR)
            for _ in range(0, waiting, size):
                self._count_some(size)
                await asyncio.sleep(PAUSE_SECONDS)

    def _count_some(self, size: int) -> None:
        sorted_notes: defaultdict[Count, list[Any]] = defaultdict(list)
        for _ in range(min(size, len(self._notes))):
            count, note = self._notes.popleft()
            sorted_notes[count].append(note)
        for count, notes in sorted_notes.items():
            try:
                count(notes)
            except Exception:
                # An error must not end the counting, or all later notes would stay in memory.
                logger.exception("Some events could not be counted.")
