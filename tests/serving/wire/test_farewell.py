import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from serving.wire import farewell
from serving.wire.farewell import Farewell

GET = b"GET /readyz HTTP/1.1\r\nHost: here\r\n\r\n"


def call(*packets: bytes, then: bytes = b"") -> bytes:
    """Send packets, read what comes till the service ends its side, and send more."""

    async def story(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for packet in packets:
            writer.write(packet)
            await asyncio.sleep(0.01)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.write(then)
        await writer.drain()
        return answer

    return met(story)


def met(story: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]) -> bytes:
    async def meet() -> bytes:
        server = await asyncio.get_running_loop().create_server(Farewell, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                return await story(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    return asyncio.run(meet())


@pytest.mark.parametrize("packets", [[GET], [GET[:10], GET[10:]]], ids=["whole", "in parts"])
def test_who_comes_is_told_that_the_service_stops(packets: list[bytes]) -> None:
    head, _, body = call(*packets).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert {b"retry-after: 1", b"connection: close"} <= set(head.split(b"\r\n"))
    assert json.loads(body) == {"error": "The service is stopping; try again in 1 second."}


def test_by_head_nothing_follows_the_headers() -> None:
    assert call(GET.replace(b"GET", b"HEAD")).endswith(b"\r\n\r\n")


def test_the_rest_of_a_body_does_no_harm() -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\n\r\n"
    assert call(head, 1000 * b"a", then=99_000 * b"a").startswith(b"HTTP/1.1 503 ")


def test_headers_without_end_are_answered_too() -> None:
    assert call(b"GET / HTTP/1.1\r\n", 70_000 * b"a").startswith(b"HTTP/1.1 503 ")


def test_a_silent_client_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "PATIENCE_SECONDS", 0.01)
    assert call() == b""
