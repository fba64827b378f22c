import asyncio
import threading
from functools import partial

import pytest

from serving.metrics.deferred import DeferredCounts


def test_notes_are_counted_together_by_kind() -> None:
    deferred = DeferredCounts(seconds=60)
    numbers: list[list[int]] = []
    words: list[list[str]] = []
    count_numbers, count_words = numbers.append, words.append
    for number, word in ((1, "a"), (2, "b")):
        deferred.add(count_numbers, number)
        deferred.add(count_words, word)
    deferred.flush()
    deferred.flush()
    assert (numbers, words) == ([[1, 2]], [["a", "b"]])


def test_kinds_are_counted_in_order() -> None:
    deferred = DeferredCounts(seconds=60)
    counted: list[str] = []
    for kind in ("count", "show", "log"):
        deferred.add(lambda _, kind=kind: counted.append(kind), None)
    deferred.flush()
    assert counted == ["count", "show", "log"]


def test_many_notes_are_counted_in_batches() -> None:
    assert counted_in_batches(5, batch=2) == [[0, 1], [2, 3], [4]]


def test_many_waiting_notes_make_larger_batches() -> None:
    batches = counted_in_batches(100_000, batch=1)
    assert [number for batch in batches for number in batch] == list(range(100_000))
    assert len(batches) < 100


def counted_in_batches(notes: int, batch: int) -> list[list[int]]:
    deferred, batches = DeferredCounts(seconds=60, batch=batch), []
    count = batches.append
    for number in range(notes):
        deferred.add(count, number)
    deferred.flush()
    return batches


def test_the_last_of_each_is_shown() -> None:
    deferred, seen = DeferredCounts(seconds=60), []
    for number in (1, 2):
        deferred.show("number", partial(seen.append, f"shown {number}"))
        deferred.show("word", partial(seen.append, f"a word beside {number}"))
        deferred.add(lambda notes: seen.extend(notes), f"counted {number}")
    deferred.flush()
    deferred.flush()
    assert seen[:2] == ["counted 1", "counted 2"]
    assert sorted(seen[2:]) == ["a word beside 2", "shown 2"]


def test_a_count_may_say_what_to_show() -> None:
    deferred, seen = DeferredCounts(seconds=60), []
    deferred.add(lambda notes: deferred.show("sum", partial(seen.append, sum(notes))), 3)
    deferred.flush()
    assert seen == [3]


def test_shows_need_no_notes() -> None:
    shown = threading.Event()
    DeferredCounts(seconds=0.001).show("it", shown.set)
    assert shown.wait(30)


def test_notes_are_counted_by_themselves_soon_after() -> None:
    counted = threading.Event()
    DeferredCounts(seconds=0.01).add(lambda _: counted.set(), None)
    assert counted.wait(30)


def test_flush_counts_sorted_notes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.metrics.deferred.PAUSE_SECONDS", 60)
    deferred, seen, one = DeferredCounts(seconds=0.2), set(), threading.Event()

    def count(kind: str, _: list[None]) -> None:
        seen.add(kind)
        one.set()

    for kind in ("a", "b", "c"):
        deferred.add(partial(count, kind), None)
    assert one.wait(30)
    deferred.flush()
    assert seen == {"a", "b", "c"}


def test_repeated_shows_do_not_delay_counts() -> None:
    deferred = DeferredCounts(seconds=0.001)
    shown, counted, other, enough = (threading.Event() for _ in range(4))

    def again() -> None:
        shown.set()
        if not enough.is_set():
            deferred.show("it", again)

    deferred.show("it", again)
    assert shown.wait(30)
    deferred.add(lambda _: counted.set(), None)
    deferred.show("another", other.set)
    assert counted.wait(30)
    assert other.wait(30)
    deferred.flush()
    enough.set()


def test_there_is_a_pause_after_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.metrics.deferred.PAUSE_SECONDS", 60)
    deferred, seen, one = DeferredCounts(seconds=0.2, batch=2), [], threading.Event()

    def count(notes: list[int]) -> None:
        seen.extend(notes)
        one.set()

    for number in range(5):
        deferred.add(count, number)
    assert one.wait(30)
    assert seen == [0, 1]


def test_notes_are_counted_several_times_per_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.metrics.deferred.ROUNDS_PER_SHOW", 3)
    deferred, counted, seen, shown = DeferredCounts(seconds=0.2), [], [], threading.Event()

    def count(notes: list[None]) -> None:
        counted.append(len(notes))
        if not shown.is_set():
            deferred.add(count, None)

    def show() -> None:
        seen.append(len(counted))
        shown.set()

    deferred.add(count, None)
    deferred.show("it", show)
    assert shown.wait(30)
    assert seen == [3]


def test_the_loop_counts_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.metrics.deferred.ROUNDS_PER_SHOW", 1)
    deferred, threads, ended = DeferredCounts(seconds=0.01, batch=1, in_loop=True), [], threading.Event()

    def count(_: list[int]) -> None:
        threads.append(threading.current_thread())

    async def serve() -> None:
        shown = asyncio.Event()
        for number in range(3):
            deferred.add(count, number)
        deferred.show("it", shown.set)
        await asyncio.wait_for(shown.wait(), 30)

    asyncio.run(serve())
    assert threads == 3 * [threading.main_thread()]
    deferred.add(count, 3)
    deferred.add(lambda _: ended.set(), None)
    assert ended.wait(30)
    assert threads[3].name == "deferred-counts"


def test_no_note_of_many_threads_is_lost() -> None:
    deferred, seen = DeferredCounts(seconds=0.001), []
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


def test_a_failing_count_affects_no_other(caplog: pytest.LogCaptureFixture) -> None:
    deferred, seen = DeferredCounts(seconds=60), []

    def fail(_: list[int]) -> None:
        raise ZeroDivisionError

    deferred.add(fail, 1)
    deferred.add(seen.extend, 2)
    deferred.show("a fault", partial(fail, []))
    deferred.show("another", partial(seen.append, 3))
    deferred.flush()
    assert seen == [2, 3]
    assert len(caplog.records) == 2
    assert "ZeroDivisionError" in caplog.text


def test_the_oldest_of_too_many_notes_are_lost() -> None:
    seen: list[int] = []
    deferred, count = DeferredCounts(seconds=60, max_notes=2), seen.extend
    for number in range(3):
        deferred.add(count, number)
    deferred.flush()
    assert seen == [1, 2]
