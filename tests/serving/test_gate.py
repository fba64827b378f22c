"""The gate by itself: requests whose messages the test makes."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from serving.gate import Gate, Limits
from serving.refusals import Refusal

GONE: Message = {"type": "http.disconnect"}


def chunks(*parts: bytes, more: bool = False) -> Iterator[Message]:
    for index, part in enumerate(parts):
        yield {"type": "http.request", "body": part, "more_body": more or index + 1 < len(parts)}


def request(messages: Iterator[Message] | None = None, address: str = "a", **fields: str) -> Request:
    """A request whose client stays and sends nothing after these messages."""
    left = messages or iter(())

    async def receive() -> Message:
        return next(left, None) or await asyncio.Future()

    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "client": (address, 1)}, receive)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


async def settle() -> None:
    """Let all tasks run until each waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def refusal_of(waiting: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        await waiting
    return caught.value.status, str(caught.value)


class Turn:
    """A request that computes until it is told to end."""

    def __init__(self, gate: Gate, asking: Request | None = None, body: bytes = b"") -> None:
        self.gate, self.asking, self.body = gate, asking or request(), body
        self.begun, self.ended = False, asyncio.Event()
        self.task = asyncio.create_task(self._compute())

    async def _compute(self) -> None:
        async with self.gate.turn(self.asking, self.body):
            self.begun = True
            await self.ended.wait()

    async def end(self) -> None:
        self.ended.set()
        await self.task


async def begun(gate: Gate, *bodies: bytes) -> list[Turn]:
    turns = [Turn(gate, body=body) for body in bodies]
    await settle()
    return turns


def in_flight() -> float:
    return REGISTRY.get_sample_value("clustnet_requests_in_flight") or 0


def test_turns_are_in_order_and_bounded() -> None:
    async def story() -> None:
        before, gate = in_flight(), Gate(Limits(running=2, waiting=2))
        first, second, third, fourth, fifth = turns = await begun(gate, *5 * [b""])
        assert [turn.begun for turn in turns] == [True, True, False, False, False]
        assert (gate.full, in_flight() - before) == (True, 4)
        assert await refusal_of(fifth.task) == (503, "2 requests are already waiting; try again in 1 second.")
        await second.end()
        await settle()
        assert [turn.begun for turn in (third, fourth)] == [True, False]
        for turn in (first, third, fourth):
            await turn.end()
        await settle()
        assert (gate.full, in_flight() - before) == (False, 0)
        # There is no wait, as none runs any more.
        (last,) = await begun(gate, b"")
        assert last.begun
        await last.end()

    run(story)


def test_connections_are_read_between_two_turns() -> None:
    async def story() -> None:
        gate, order = Gate(Limits(running=1, per_round=1)), []

        async def compute(name: str) -> None:
            async with gate.turn(request(), b""):
                order.append(name)

        tasks = [asyncio.create_task(compute(name)) for name in "abc"]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            order.append("-")
        # The dashes are rounds of the loop.
        assert re.fullmatch("-*a-+b-+c-*", "".join(order))

    run(story)


def test_large_waiting_bodies_are_bounded() -> None:
    async def story() -> None:
        gate = Gate(Limits(running=1, waiting=9, waiting_bytes=10, compressed_bytes=6))
        first, alone, refused = await begun(gate, 99 * b"x", 99 * b"x", b"x")
        assert (await refusal_of(refused.task))[0] == 503
        await first.end()
        await settle()
        assert alone.begun
        small = await begun(gate, 5 * b"x", 5 * b"x")
        assert (await refusal_of(Turn(gate, body=b"x").task))[1].startswith("2 requests are already waiting")
        for turn in (alone, *small):
            await turn.end()
        # A compressed one may hold far more.
        (running,) = await begun(gate, b"")
        packed = [Turn(gate, request(content_encoding="gzip"), b"x") for _ in range(2)]
        await settle()
        assert (await refusal_of(packed[1].task))[0] == 503
        for turn in (running, packed[0]):
            await turn.end()

    run(story)


@pytest.mark.parametrize("messages", [[GONE], []], ids=["gone", "there"])
def test_gone_clients_get_no_turn(messages: list[Message]) -> None:
    async def story() -> None:
        gate = Gate(Limits(running=1, gone_seconds=0))
        (first,) = await begun(gate, b"")
        waiting = Turn(gate, request(iter(messages)))
        (third,) = await begun(gate, b"")
        await first.end()
        await settle()
        assert (waiting.begun, third.begun) == (not messages, bool(messages))
        if messages:
            with pytest.raises(ClientDisconnect):
                await waiting.task
        else:
            await waiting.end()
        await third.end()

    run(story)


def test_a_wait_that_is_cancelled_loses_no_turn() -> None:
    async def story() -> None:
        gate = Gate(Limits(running=1))
        first, second, third = await begun(gate, b"", b"", b"")
        first.ended.set()
        # The turn comes in the same round of the loop.
        while not gate._waiting[0].done() and len(gate._waiting) == 2:
            await asyncio.sleep(0)
        second.task.cancel()
        await settle()
        assert (second.begun, third.begun) == (False, True)
        third.task.cancel()
        await settle()
        (last,) = await begun(gate, b"")
        assert last.begun
        await last.end()

    run(story)


def test_a_block_that_fails_gives_its_turn_back() -> None:
    async def story() -> None:
        gate = Gate(Limits(running=1))
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                async with gate.turn(request(), b""):
                    raise ZeroDivisionError
            await settle()

    run(story)


def test_a_body_up_to_the_limit_arrives_whole() -> None:
    async def story() -> None:
        gate = Gate()
        assert await gate.body(request(chunks(b"12345", b"67890")), 10) == b"1234567890"
        for length in ("-1", "ten", "²", "9"):
            assert await gate.body(request(chunks(b"x"), content_length=length), 10) == b"x"

    run(story)


def test_a_larger_body_is_refused_early() -> None:
    async def story() -> None:
        gate = Gate()
        for asking in (request(content_length="11"), request(chunks(b"123456", b"123456", more=True))):
            assert await refusal_of(gate.body(asking, 10)) == (
                413,
                "The body is over 10 bytes; send fewer images in one request.",
            )
        assert (await refusal_of(gate.body(request(content_length="9" * 9999), 10)))[0] == 413

    run(story)


def test_a_body_that_does_not_arrive_is_refused() -> None:
    async def story() -> None:
        gate = Gate(Limits(body_seconds=0.01))
        status, message = await refusal_of(gate.body(request(chunks(b"x", more=True)), 10))
        assert (status, "0.01 seconds" in message) == (408, True)
        with pytest.raises(ClientDisconnect):
            await gate.body(request(iter([GONE])), 10)

    run(story)


def test_simultaneous_bodies_are_bounded_together() -> None:
    async def story() -> None:
        gate = Gate(Limits(reading_bytes=12, address_bytes=100))
        stalled = asyncio.create_task(gate.body(request(chunks(b"1234567890", more=True)), 10))
        await settle()
        status, message = await refusal_of(gate.body(request(chunks(b"123", more=True)), 10))
        assert (status, message) == (
            503,
            "13 bytes of requests are being read at the same time; try again in 1 second.",
        )
        stalled.cancel()
        await settle()
        assert await gate.body(request(chunks(b"1234567890")), 10)

    run(story)


def test_an_address_has_a_share_of_the_bytes() -> None:
    async def story() -> None:
        gate = Gate(Limits(reading_bytes=100, address_bytes=15))
        stalled = asyncio.create_task(gate.body(request(chunks(b"1234567890", more=True)), 10))
        await settle()
        _, message = await refusal_of(gate.body(request(chunks(b"1234567890", more=True)), 10))
        assert message.startswith("20 bytes of requests from your address are being read")
        assert await gate.body(request(chunks(b"12345")), 10)
        assert await gate.body(request(chunks(b"1234567890"), address="b"), 10)
        stalled.cancel()
        await settle()
        assert await gate.body(request(chunks(b"1234567890")), 10)

    run(story)


def test_a_single_body_may_exceed_the_sum() -> None:
    async def story() -> None:
        gate = Gate(Limits(reading_bytes=1, address_bytes=1))
        assert await gate.body(request(chunks(b"1234567890")), 10)

    run(story)
