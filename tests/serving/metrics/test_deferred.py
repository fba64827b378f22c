import asyncio
import logging
import threading
from types import SimpleNamespace

import pytest

from serving.metrics.deferred import BATCH_NOTES, DeferredCounts


def test_notes_are_counted_together_by_kind() -> None:
    deferred = DeferredCounts()
    numbers: list[list[int]] = []
    words: list[list[str]] = []
    count_numbers, count_words = numbers.append, words.append
    for number, word in ((1, "a"), (2, "b")):
        deferred.add(count_numbers, number)
        deferred.add(count_words, word)
    deferred.flush()
    deferred.flush()
    assert (numbers, words) == ([[1, 2]], [["a", "b"]])


@pytest.mark.parametrize("notes", [3, 1000, 100_000])
def test_the_loop_counts_in_batches(monkeypatch: pytest.MonkeyPatch, notes: int) -> None:
    monkeypatch.setattr("serving.metrics.deferred.WAIT_SECONDS", 0.01)
    monkeypatch.setattr("serving.metrics.deferred.PAUSE_SECONDS", 0)
    deferred, batches = DeferredCounts(), list[list[int]]()
    count = batches.append
    for number in range(notes):
        deferred.add(count, number)

    async def story() -> None:
        task = asyncio.create_task(deferred.run())
        async with asyncio.timeout(20):
            while sum(map(len, batches)) < notes:
                await asyncio.sleep(0)
        task.cancel()

    asyncio.run(story())
    assert [number for batch in batches for number in batch] == list(range(notes))
    assert len(batches[0]) == min(notes, max(BATCH_NOTES, notes // 8))


def test_notes_of_a_busy_service_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    deferred, batches = DeferredCounts(), list[list[str]]()
    count = batches.append

    async def serve_meanwhile(seconds: float) -> None:
        if len(batches) == 5:
            raise asyncio.CancelledError
        for _ in range(round(seconds / 0.001)):
            deferred.add(count, "a request a millisecond")

    monkeypatch.setattr("serving.metrics.deferred.asyncio", SimpleNamespace(sleep=serve_meanwhile))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(deferred.run())
    assert [len(batch) for batch in batches] == [BATCH_NOTES, 74, BATCH_NOTES, 76, BATCH_NOTES]


def test_no_note_of_many_threads_is_lost() -> None:
    deferred, seen = DeferredCounts(), list[int]()
    count = seen.extend

    def add() -> None:
        for number in range(2000):
            deferred.add(count, number)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deferred.flush()
    assert sorted(seen) == sorted(4 * list(range(2000)))


def test_a_failing_count_affects_no_other(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    deferred, seen = DeferredCounts(), list[int]()

    def fail(_: list[int]) -> None:
        raise ZeroDivisionError

    deferred.add(fail, 1)
    deferred.add(seen.extend, 2)
    deferred.flush()
    assert seen == [2]
    assert "ZeroDivisionError" in caplog.text
