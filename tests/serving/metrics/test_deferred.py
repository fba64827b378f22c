import asyncio
import threading
from functools import partial

import pytest

from serving.metrics.deferred import Tally


def test_notes_are_counted_together_by_kind() -> None:
    tally = Tally(seconds=60)
    numbers: list[list[int]] = []
    words: list[list[str]] = []
    count_numbers, count_words = numbers.append, words.append
    for number, word in ((1, "a"), (2, "b")):
        tally.add(count_numbers, number)
        tally.add(count_words, word)
    tally.flush()
    tally.flush()
    assert (numbers, words) == ([[1, 2]], [["a", "b"]])


def test_kinds_are_counted_in_the_order_of_their_notes() -> None:
    tally = Tally(seconds=60)
    counted: list[str] = []
    for kind in ("count", "show", "log"):
        tally.add(lambda _, kind=kind: counted.append(kind), None)
    tally.flush()
    assert counted == ["count", "show", "log"]


def test_many_notes_are_counted_in_pieces() -> None:
    assert counted_in_pieces(5, piece=2) == [[0, 1], [2, 3], [4]]


def test_a_heap_of_notes_is_counted_in_larger_pieces() -> None:
    pieces = counted_in_pieces(100_000, piece=1)
    assert [number for piece in pieces for number in piece] == list(range(100_000))
    assert len(pieces) < 100


def counted_in_pieces(notes: int, piece: int) -> list[list[int]]:
    tally, pieces = Tally(seconds=60, piece=piece), []
    count = pieces.append
    for number in range(notes):
        tally.add(count, number)
    tally.flush()
    return pieces


def test_the_last_of_each_is_shown_when_all_is_counted() -> None:
    tally, seen = Tally(seconds=60), []
    for number in (1, 2):
        tally.show("number", partial(seen.append, f"shown {number}"))
        tally.show("word", partial(seen.append, f"a word beside {number}"))
        tally.add(lambda notes: seen.extend(notes), f"counted {number}")
    tally.flush()
    tally.flush()
    assert seen[:2] == ["counted 1", "counted 2"]
    assert sorted(seen[2:]) == ["a word beside 2", "shown 2"]


def test_a_count_may_say_what_to_show() -> None:
    tally, seen = Tally(seconds=60), []
    tally.add(lambda notes: tally.show("sum", partial(seen.append, sum(notes))), 3)
    tally.flush()
    assert seen == [3]


def test_what_there_is_to_show_is_shown_by_itself() -> None:
    shown = threading.Event()
    Tally(seconds=0.001).show("it", shown.set)
    assert shown.wait(30)


def test_notes_are_counted_by_themselves_soon_after() -> None:
    counted = threading.Event()
    Tally(seconds=0.01).add(lambda _: counted.set(), None)
    assert counted.wait(30)


def test_flush_counts_what_its_thread_has_taken_and_not_yet_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.metrics.deferred.PAUSE", 60)
    tally, seen, one = Tally(seconds=0.2), set(), threading.Event()

    def count(kind: str, _: list[None]) -> None:
        seen.add(kind)
        one.set()

    for kind in ("a", "b", "c"):
        tally.add(partial(count, kind), None)
    assert one.wait(30)
    tally.flush()
    assert seen == {"a", "b", "c"}


def test_what_is_shown_again_and_again_does_not_hold_up_what_is_counted() -> None:
    tally = Tally(seconds=0.001)
    shown, counted, other, enough = (threading.Event() for _ in range(4))

    def again() -> None:
        shown.set()
        if not enough.is_set():
            tally.show("it", again)

    tally.show("it", again)
    assert shown.wait(30)
    tally.add(lambda _: counted.set(), None)
    tally.show("another", other.set)
    assert counted.wait(30)
    assert other.wait(30)
    tally.flush()
    enough.set()


def test_there_is_a_pause_after_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.metrics.deferred.PAUSE", 60)
    tally, seen, one = Tally(seconds=0.2, piece=2), [], threading.Event()

    def count(notes: list[int]) -> None:
        seen.extend(notes)
        one.set()

    for number in range(5):
        tally.add(count, number)
    assert one.wait(30)
    assert seen == [0, 1]


def test_notes_are_counted_several_times_before_all_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.metrics.deferred.SHOWN_EVERY", 3)
    tally, counted, seen, shown = Tally(seconds=0.2), [], [], threading.Event()

    def count(notes: list[None]) -> None:
        counted.append(len(notes))
        if not shown.is_set():
            tally.add(count, None)

    def show() -> None:
        seen.append(len(counted))
        shown.set()

    tally.add(count, None)
    tally.show("it", show)
    assert shown.wait(30)
    assert seen == [3]


def test_the_event_loop_counts_between_its_requests_and_after_its_end_the_thread_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.metrics.deferred.SHOWN_EVERY", 1)
    tally, threads, ended = Tally(seconds=0.01, piece=1, in_loop=True), [], threading.Event()

    def count(_: list[int]) -> None:
        threads.append(threading.current_thread())

    async def serve() -> None:
        shown = asyncio.Event()
        for number in range(3):
            tally.add(count, number)
        tally.show("it", shown.set)
        await asyncio.wait_for(shown.wait(), 30)

    asyncio.run(serve())
    assert threads == 3 * [threading.main_thread()]
    tally.add(count, 3)
    tally.add(lambda _: ended.set(), None)
    assert ended.wait(30)
    assert threads[3].name == "tally"


def test_no_note_of_many_threads_is_lost() -> None:
    tally, seen = Tally(seconds=0.001), []
    count = seen.extend

    def add() -> None:
        for number in range(2000):
            tally.add(count, number)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.flush()
    assert sorted(seen) == sorted(4 * list(range(2000)))


def test_a_count_that_fails_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    tally, seen = Tally(seconds=60), []

    def fail(_: list[int]) -> None:
        raise ZeroDivisionError

    tally.add(fail, 1)
    tally.add(seen.extend, 2)
    tally.show("a fault", partial(fail, []))
    tally.show("another", partial(seen.append, 3))
    tally.flush()
    assert seen == [2, 3]
    assert len(caplog.records) == 2
    assert "ZeroDivisionError" in caplog.text


def test_the_oldest_of_too_many_notes_are_lost() -> None:
    seen: list[int] = []
    tally, count = Tally(seconds=60, most=2), seen.extend
    for number in range(3):
        tally.add(count, number)
    tally.flush()
    assert seen == [1, 2]
