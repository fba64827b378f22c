"""The limit to headers, against a real uvicorn on a socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.config import HTTP_PROTOCOLS

import serving
from serving.http_protocol import MOST_OVERHEAD, BoundedProtocol

HEAD = b"POST / HTTP/1.1\r\nHost: here\r\n"
FILLER = b"X-%06d: " + 1000 * b"a" + b"\r\n"
PACKET = b"".join(FILLER % number for number in range(32))


async def echo_size(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    application = Starlette(routes=[Route("/", echo_size, methods=["POST"])])
    config = uvicorn.Config(application, port=0, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    serve = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    assert issubclass(config.http_protocol_class, BoundedProtocol)  # type: ignore[arg-type]
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    yield reader, writer
    writer.close()
    server.should_exit = True
    await serve


async def sent(*packets: bytes) -> bytes:
    """Send packets one after the other and return what the server answers till it closes."""
    async with connection() as (reader, writer):
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0.01)  # so that the server reads it by itself
        return await asyncio.wait_for(reader.read(), 10)


def answered(*packets: bytes) -> bytes:
    return asyncio.run(sent(*packets))


def test_bentoml_gets_this_protocol() -> None:
    assert serving.__name__ == "serving"
    assert HTTP_PROTOCOLS["auto"] == "serving.http_protocol:BoundedProtocol"


@pytest.mark.parametrize(
    "endless",
    [PACKET, 32 * 1024 * b"a"],
    ids=["many headers", "one long header"],
)
def test_headers_without_end_are_refused(endless: bytes) -> None:
    head, _, body = answered(HEAD, b"" if endless is PACKET else b"X-Long: ", *3 * [endless]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert "over 64 KiB" in json.loads(body)["error"]


def test_trailers_without_end_close_the_connection() -> None:
    start = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    assert b"HTTP/1.1 200" not in answered(start, *3 * [PACKET])


def test_large_bodies_and_many_requests_in_one_packet_pass() -> None:
    size = 4 * MOST_OVERHEAD
    large = HEAD + b"Content-Length: %d\r\n\r\n" % size
    assert answered(large, *4 * [MOST_OVERHEAD * b"a"], HEAD + b"Connection: close\r\n\r\n").count(b"200 OK") == 2
    small = HEAD + b"Content-Length: 1\r\n\r\na"
    many = answered(3000 * small, HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    assert many.count(b"200 OK") == 3001


def test_small_chunks_pass() -> None:
    chunks = 20_000 * b"5\r\naaaaa\r\n"
    start = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answered(start, chunks, b"0\r\n\r\n").endswith(b"100000")
