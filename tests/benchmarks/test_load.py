import asyncio
import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from scipy.stats import kstest

from benchmarks.load import Answers, Idle, steady_load
from benchmarks.requests import Request

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
REQUEST = Request("/predict", b"[1, 2]", {"X-Test": "1"})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


def test_requests_form_a_poisson_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    times: list[float] = []
    monkeypatch.setattr(Idle, "send", lambda _, due, answers: times.append(due))
    with answering(answer) as (url, _):
        steady_load(url, REQUEST, 100, 2, seed=3)
    assert kstest(np.diff(times), "expon", args=(0, 1 / 100)).pvalue > 0.001


def test_the_seed_decides_the_requests() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(OK)

    with answering(answer) as (url, asked):
        answers = steady_load(url, REQUEST, 100, 0.5, seed=1)
    assert answers.statuses == {200: len(asked)}
    # The last request was sent at the end.
    assert 0 < answers.meanwhile[200] < len(asked)
    assert len(asked) == requests_in(0.5, 100, seed=1)
    assert all(request.startswith(b"POST /predict HTTP/1.1\r\n") for request in asked)
    assert all(b"X-Test: 1\r\n" in request and request.endswith(b"\r\n\r\n[1, 2]") for request in asked)
    assert min(answers.milliseconds[200]) >= 20
    assert answers.seconds >= 0.5


def test_waits_count_from_the_due_moment() -> None:
    stood = False

    async def stand_still(writer: asyncio.StreamWriter) -> None:
        nonlocal stood
        if not stood:
            stood = True
            # It blocks all connections, as a computation does.
            time.sleep(0.3)
        writer.write(OK)

    with answering(stand_still) as (url, _):
        answers = steady_load(url, REQUEST, 100, 0.5, seed=1)
    waits = np.array(answers.milliseconds[200])
    assert len(waits) == requests_in(0.5, 100, seed=1)
    assert waits.max() >= 290
    # The pause is three tenths of a second.
    assert np.sum(waits > 100) >= requests_in(0.2, 100, seed=1) - 1


def test_refusals_and_lost_connections_are_counted_apart() -> None:
    count = itertools.count()

    async def refuse_or_hang_up(writer: asyncio.StreamWriter) -> None:
        if next(count) % 2:
            writer.write(BUSY)
        else:
            writer.close()

    with answering(refuse_or_hang_up) as (url, asked):
        answers = steady_load(url, REQUEST, 100, 0.2, seed=1)
    assert answers.statuses.keys() == {503, 0}
    assert answers.statuses.total() == len(asked)
    assert abs(answers.statuses[503] - answers.statuses[0]) <= 1
    assert np.isnan(answers.percentile(50))
    assert answers.percentile(50, 503) > 0


def test_answers_of_two_times_are_added_up() -> None:
    answers = Answers(Counter({200: 2}), defaultdict(list, {200: [1.0, 2.0]}), Counter({200: 1}), 0.5)
    answers.add(
        Answers(Counter({200: 1, 503: 1}), defaultdict(list, {200: [9.0], 503: [4.0]}), Counter({503: 1}), 0.25)
    )
    assert (answers.statuses, answers.meanwhile) == ({200: 3, 503: 1}, {200: 1, 503: 1})
    assert (answers.percentile(50), answers.percentile(50, 503), answers.seconds) == (2, 4, 0.75)


def requests_in(seconds: float, rate: float, seed: int) -> int:
    """Return how many requests of a Poisson process are asked, and the one with which the time is over."""
    draw, due, count = random.Random(seed), 0.0, 0  # noqa: S311
    while due < seconds:
        due += draw.expovariate(rate)
        count += 1
    return count


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """Serve HTTP from a thread; yield the URL and the requests that come."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            asked.append(head + await reader.readexactly(len(REQUEST.body)))
            await answer(writer)
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, backlog=400))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(server: asyncio.Server) -> None:
    """Close the server, and wait for the tasks of its connections."""
    server.close()
    await server.wait_closed()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        await asyncio.wait(rest, timeout=5)
