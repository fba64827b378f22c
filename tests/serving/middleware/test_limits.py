import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serving.middleware.limits import BodyLimits, Reading

Header = tuple[bytes, bytes]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with the body it was given."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def exchange(
    messages: Iterator[Message], *headers: Header, seconds: float = 20, method: str = "POST"
) -> tuple[int | None, bytes]:
    """Send messages through the middleware, limited to 10 bytes; return the status and the body."""
    sent: list[Message] = []

    async def receive() -> Message:
        message = next(messages, None)
        if message is None:
            # The client sends nothing more.
            await asyncio.Event().wait()
        return message  # type: ignore[return-value]

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": method, "path": "/", "headers": list(headers)}
    asyncio.run(BodyLimits(echo, max_bytes=10, seconds=seconds)(scope, receive, send))
    return (sent[0]["status"], sent[1]["body"]) if sent else (None, b"")


def chunks(*bodies: bytes, more: bool = False) -> Iterator[Message]:
    for body in bodies[:-1]:
        yield {"type": "http.request", "body": body, "more_body": True}
    yield {"type": "http.request", "body": bodies[-1], "more_body": more}


def never() -> Iterator[Message]:
    raise AssertionError("the body was read")
    yield


def test_a_body_up_to_the_limit_arrives_whole() -> None:
    assert exchange(chunks(b"12345", b"", b"67890")) == (200, b"1234567890")


@pytest.mark.parametrize("length", [b"11", b"9" * 5000])
def test_a_longer_content_length_is_refused_unread(length: bytes) -> None:
    status, body = exchange(never(), (b"content-length", length))
    assert (status, b"over 10 bytes" in body) == (413, True)


def test_chunks_over_the_limit_are_refused_early() -> None:
    status, _ = exchange(chunks(b"123456", b"123456", more=True))
    assert status == 413


@pytest.mark.parametrize("length", [b"-1", b"ten", "²".encode()])
def test_an_invalid_content_length_is_not_trusted(length: bytes) -> None:
    assert exchange(chunks(b"x"), (b"content-length", length)) == (200, b"x")


def test_a_body_that_does_not_arrive_is_refused() -> None:
    status, body = exchange(chunks(b"x", more=True), seconds=0.01)
    assert (status, b"0.01 seconds" in body) == (408, True)


def test_a_client_that_goes_away_gets_no_answer() -> None:
    assert exchange(iter([{"type": "http.disconnect"}])) == (None, b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_has_no_body_passes_unread(method: str) -> None:
    assert exchange(chunks(b"x" * 11), (b"content-length", b"11"), method=method) == (200, b"x" * 11)


def test_simultaneous_bodies_are_bounded_together() -> None:
    async def story() -> list[int]:
        answers: dict[str, int] = {}
        more = asyncio.Event()
        limits = BodyLimits(echo, max_bytes=10, reading=Reading(12))

        async def call(name: str, *bodies: bytes) -> None:
            parts = chunks(*bodies)
            held = [next(parts)]

            async def receive() -> Message:
                if held:
                    return held.pop()
                await more.wait()
                return next(parts)

            async def send(message: Message) -> None:
                answers.setdefault(name, message.get("status", 0))

            scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}
            await limits(scope, receive, send)

        first, second = (asyncio.create_task(call(name, b"12345", b"12345")) for name in ("first", "second"))
        await asyncio.sleep(0)
        await call("third", b"123", b"")
        assert answers == {"third": 503}
        more.set()
        await asyncio.gather(first, second)
        await call("last", b"1234567890")
        return list(answers.values())

    # One of the first two was one too many, as well.
    assert sorted(asyncio.run(story())) == [200, 200, 503, 503]


def test_an_address_has_a_share_of_the_budget() -> None:
    async def story() -> list[tuple[str, int]]:
        answers: list[tuple[str, int]] = []
        limits = BodyLimits(echo, max_bytes=10, reading=Reading(100, max_address_bytes=15))

        async def call(address: str, parts: Iterator[Message]) -> None:
            async def receive() -> Message:
                return next(parts, None) or await asyncio.Future()

            async def send(message: Message) -> None:
                if "status" in message:
                    answers.append((address, message["status"]))
                elif b"error" in message["body"]:
                    assert b"20 bytes of requests from your address are being read" in message["body"]

            scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "client": (address, 1)}
            await limits(scope, receive, send)

        stalled = asyncio.create_task(call("a", chunks(b"1234567890", more=True)))
        await asyncio.sleep(0)
        await call("a", chunks(b"1234567890", more=True))
        await call("a", chunks(b"12345"))
        await call("b", chunks(b"1234567890"))
        stalled.cancel()
        await asyncio.gather(stalled, return_exceptions=True)
        await call("a", chunks(b"1234567890"))
        assert (limits.reading.bytes_now, limits.reading.by_address) == (0, {})
        return answers

    assert asyncio.run(story()) == [("a", 503), ("a", 200), ("b", 200), ("a", 200)]


def test_a_single_body_may_exceed_the_sum() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"1234567890"}

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(BodyLimits(echo, max_bytes=10, reading=Reading(1, 1))(scope, receive, send))
    assert sent[0]["status"] == 200


def test_pickle_is_refused_unread() -> None:
    status, _ = exchange(never(), (b"content-type", b"application/vnd.bentoml+pickle; x=1"))
    assert status == 415
