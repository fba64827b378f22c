import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from serving.refusals import Refusal
from serving.turns import MIN_COMPRESSED_BYTES, TakeTurns, Turns


async def never() -> None:
    """A client that stays."""
    await asyncio.Event().wait()


async def at_once() -> None:
    """A client that has gone already."""


async def settle() -> None:
    """Let all tasks run until each waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_turns_are_in_order_and_bounded() -> None:
    async def call() -> None:
        turns, order = Turns(max_running=2, max_waiting=2), []

        async def take(name: int) -> None:
            assert await turns.begin(never)
            order.append(name)

        tasks = [asyncio.create_task(take(name)) for name in range(5)]
        await settle()
        assert order == [0, 1]
        with pytest.raises(Refusal, match=r"^2 requests wait already; try again in 1 second\.$") as caught:
            tasks[4].result()
        assert (caught.value.status, caught.value.reason) == (503, "overloaded")
        turns.end()
        await settle()
        assert order == [0, 1, 2]
        for _ in range(3):
            turns.end()
        await settle()
        assert order == [0, 1, 2, 3]
        # There is no wait, as none runs any more.
        assert await turns.begin(never)
        await asyncio.gather(*tasks[:4])

    asyncio.run(call())


def test_large_waiting_bodies_are_bounded() -> None:
    async def call() -> None:
        turns = Turns(max_running=1, max_waiting=9, max_bytes=10)
        # It does not wait.
        assert await turns.begin(never, 99)
        alone = asyncio.create_task(turns.begin(never, 99))
        await settle()
        with pytest.raises(Refusal, match=r"^1 requests wait already"):
            await turns.begin(never, 1)
        turns.end()
        assert await alone
        small = [asyncio.create_task(turns.begin(never, 5)) for _ in range(2)]
        await settle()
        with pytest.raises(Refusal, match=r"^2 requests wait already"):
            await turns.begin(never, 1)
        for _ in range(2):
            turns.end()
        assert await asyncio.gather(*small) == [True, True]

    asyncio.run(call())


def test_a_client_that_goes_away_leaves_the_queue() -> None:
    async def call() -> None:
        turns = Turns(max_running=1, max_waiting=1)
        assert await turns.begin(never)
        assert not await turns.begin(at_once)
        # It finds the place free again.
        patient = asyncio.create_task(turns.begin(never))
        await settle()
        turns.end()
        assert await patient

    asyncio.run(call())


@pytest.mark.parametrize("in_the_same_round", [False, True])
def test_a_wait_that_is_cancelled_loses_no_turn(in_the_same_round: bool) -> None:
    async def call() -> None:
        turns = Turns(max_running=1, max_waiting=2)
        assert await turns.begin(never)
        late, patient = (asyncio.create_task(turns.begin(never)) for _ in range(2))
        await settle()
        if in_the_same_round:
            turns.end()
            late.cancel()
        else:
            late.cancel()
            await settle()
            turns.end()
        with pytest.raises(asyncio.CancelledError):
            await late
        assert await asyncio.wait_for(patient, 20)

    asyncio.run(call())


class Connection:
    """One request through the middleware: its body comes whole, then the client stays until ``leave``."""

    def __init__(self, application: TakeTurns, path: str = "/predict", body: bytes = b"x", encoding: str = "") -> None:
        self.sent: list[Message] = []
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.messages.put_nowait({"type": "http.request", "body": body})
        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": []}
        if encoding:
            scope["headers"] = [(b"content-encoding", encoding.encode())]
        self.task = asyncio.create_task(self._ask(application, scope))

    async def _ask(self, application: TakeTurns, scope: Scope) -> None:
        await application(scope, self.messages.get, self.send)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None


class Desk:
    """An application that computes nothing until it is let go, and repeats the body it was sent."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append((await receive())["body"])
        await self.open.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.bodies[-1]})


def at_the_desk(story: Callable[[Desk, TakeTurns], Awaitable[None]]) -> None:
    async def tell() -> None:
        desk = Desk()
        turns = Turns(max_running=1, max_waiting=1)
        await story(desk, TakeTurns(desk, turns, lambda path: path == "/predict"))

    asyncio.run(tell())


def test_past_the_bound_the_answer_is_503() -> None:
    async def story(desk: Desk, application: TakeTurns) -> None:
        first, second = Connection(application, body=b"1"), Connection(application, body=b"2")
        await settle()
        third, health = Connection(application), Connection(application, path="/livez")
        await settle()
        assert (first.status, second.status, third.status) == (None, None, 503)
        assert (b"retry-after", b"1") in third.sent[0]["headers"]
        assert json.loads(third.sent[1]["body"]) == {"error": "1 requests wait already; try again in 1 second."}
        # The health check overtakes all that wait.
        assert desk.bodies == [b"1", b"x"]
        desk.open.set()
        await asyncio.gather(first.task, second.task, third.task, health.task)
        assert (first.status, second.status, health.status) == (200, 200, 200)
        assert desk.bodies == [b"1", b"x", b"2"]

    at_the_desk(story)


def test_compressed_bodies_count_more() -> None:
    async def tell() -> None:
        desk = Desk()
        application = TakeTurns(desk, Turns(max_running=1, max_bytes=2 * MIN_COMPRESSED_BYTES), lambda _: True)
        # One runs and two wait.
        plain = [Connection(application) for _ in range(3)]
        packed = [Connection(application, encoding="gzip") for _ in range(2)]
        await settle()
        assert [request.status for request in plain] == [None, None, None]
        assert [request.status for request in packed] == [None, 503]
        desk.open.set()
        await asyncio.gather(*(request.task for request in plain + packed))

    asyncio.run(tell())


def test_gone_clients_get_no_turn() -> None:
    async def story(desk: Desk, application: TakeTurns) -> None:
        first, second = Connection(application, body=b"1"), Connection(application, body=b"2")
        await settle()
        second.leave()
        await asyncio.wait_for(second.task, 20)
        third = Connection(application, body=b"3")
        desk.open.set()
        await asyncio.gather(first.task, third.task)
        assert desk.bodies == [b"1", b"3"]
        assert second.sent == []

    at_the_desk(story)


def test_a_client_that_reads_slowly_holds_no_turn() -> None:
    async def story(desk: Desk, application: TakeTurns) -> None:
        desk.open.set()
        slow = Connection(application, body=b"1")
        slow.send = lambda _: never()  # type: ignore[assignment, method-assign]
        await settle()
        second = Connection(application, body=b"2")
        await asyncio.wait_for(second.task, 20)
        assert second.status == 200
        slow.task.cancel()

    at_the_desk(story)


def test_an_application_that_fails_gives_its_turn_back() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async def ask_twice() -> None:
        application = TakeTurns(fail, Turns(max_running=1, max_waiting=0), lambda _: True)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await Connection(application).task

    asyncio.run(ask_twice())


def test_all_protocols_share_the_bound(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.service import TURNS

    monkeypatch.setattr(TURNS, "max_running", 0)
    monkeypatch.setattr(TURNS, "max_waiting", 0)
    paths = ["/predict", "/predict_image", "/v2/models/synthetic/infer", "/v2/repository/index"]
    answers = [client.post(path) for path in (*paths, "/v2/models/synthetic/versions/1/infer")]
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    for path in ("/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/models/synthetic"):
        assert client.get(path).status_code == 200
    documented = client.get("/docs.json").json()["paths"]
    assert all("503" in documented[path]["post"]["responses"] for path in paths[:2] + paths[3:])
