"""The limit to headers, against a real uvicorn on a socket."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from uvicorn.config import HTTP_PROTOCOLS

from serving.gate import GATE, ORIGINS, Gate, Limits
from serving.metrics.metrics import DEFERRED
from serving.refusals import Refusal
from serving.wire import http_protocol
from serving.wire.flow import Flow
from serving.wire.http_protocol import (
    MAX_OVERHEAD_BYTES,
    MAX_REQUESTS_IN_LINE,
    BoundedProtocol,
    use_bounded_protocol,
)

HEAD = b"POST / HTTP/1.1\r\nHost: here\r\n"
FILLER = b"X-%06d: " + 1000 * b"a" + b"\r\n"
PACKET = b"".join(FILLER % number for number in range(32))


async def echo_size(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


def echo() -> Starlette:
    return Starlette(routes=[Route("/", echo_size, methods=["POST"])])


@asynccontextmanager
async def listening(
    application: Starlette, keep_alive: float = 5, gate: Gate | None = None
) -> AsyncIterator[tuple[str, int]]:
    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[dict[str, object]]:
        yield {GATE: gate, ORIGINS: ("http://there",)}

    application.router.lifespan_context = running
    config = uvicorn.Config(application, port=0, http=BoundedProtocol, lifespan="on", log_level="error")
    config.timeout_keep_alive = keep_alive  # type: ignore[assignment] # uvicorn's option takes whole seconds
    server = uvicorn.Server(config)
    serve = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    await serve


async def sent(*packets: bytes, gate: Gate | None = None) -> bytes:
    """Send packets one after the other and return what the server answers till it closes."""
    async with listening(echo(), gate=gate) as address:
        reader, writer = await asyncio.open_connection(*address)
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            # The pause lets the server read it by itself.
            await asyncio.sleep(0.01)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


def answered(*packets: bytes) -> bytes:
    return asyncio.run(sent(*packets))


def test_bentoml_gets_this_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.wire.http_protocol.HTTP_PROTOCOLS", HTTP_PROTOCOLS.copy())
    use_bounded_protocol()
    config = uvicorn.Config(echo())
    monkeypatch.setattr("uvicorn.config.HTTP_PROTOCOLS", http_protocol.HTTP_PROTOCOLS)
    config.load()
    assert config.http_protocol_class is BoundedProtocol


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


def test_large_bodies_and_packets_pass() -> None:
    size = 4 * MAX_OVERHEAD_BYTES
    large = HEAD + b"Content-Length: %d\r\n\r\n" % size
    assert answered(large, *4 * [MAX_OVERHEAD_BYTES * b"a"], HEAD + b"Connection: close\r\n\r\n").count(b"200 OK") == 2
    small = HEAD + b"Content-Length: 8000\r\n\r\n" + 8000 * b"a"
    many = answered(*20 * [10 * small], HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    assert many.count(b"200 OK") == 201


def test_small_chunks_pass() -> None:
    chunks = 20_000 * b"5\r\naaaaa\r\n"
    start = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answered(start, chunks, b"0\r\n\r\n").endswith(b"100000")


class Waiting:
    """An application whose answers to POST wait in the gate until it is opened."""

    def __init__(self, most: int = 100) -> None:
        self.opened = asyncio.Event()
        self.gate = Gate(Limits(running=most, waiting=0))
        self.application = Starlette(routes=[Route("/{path}", self.wait, methods=["GET", "POST"])])

    async def wait(self, request: Request) -> PlainTextResponse:
        body = await request.body()
        if request.method == "GET" or request.url.path == "/slow":
            return PlainTextResponse("done")
        try:
            async with self.gate.turn(request, body):
                while not self.opened.is_set():
                    # As long as the client is there.
                    if await request.is_disconnected():
                        break
                    await asyncio.sleep(0.01)
        except Refusal as refusal:
            return PlainTextResponse(str(refusal), refusal.status)
        return PlainTextResponse("done")


def unread() -> float:
    """Return how many requests were refused unread."""
    DEFERRED.flush()
    return REGISTRY.get_sample_value("clustnet_refused_requests_total", {"reason": "overloaded"}) or 0


def request(path: str = "/predict", method: str = "POST", body: bytes = b"ab", more: bytes = b"") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n%b\r\n%b" % (
        method.encode(), path.encode(), len(body), more, body,
    )  # fmt: skip


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().splitlines()
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-1])}
    return int(lines[0].split()[1]), fields, await reader.readexactly(int(fields["content-length"]))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def overload() -> None:
    waiting, before = Waiting(2), unread()
    async with listening(waiting.application, gate=waiting.gate) as address:
        first, second, third = [await asyncio.open_connection(*address) for _ in range(3)]
        first[1].write(request())
        second[1].write(request("/predict?model=a"))
        await until(lambda: waiting.gate.full)
        third[1].write(request(more=b"X-Request-Id: mine\r\n"))
        status, fields, body = await answer_of(third[0])
        assert (status, fields["retry-after"], fields["x-request-id"]) == (503, "1", "mine")
        assert json.loads(body) == {"error": "0 requests are already waiting; try again in 1 second."}
        assert unread() - before == 1
        # A page of another site may read why.
        third[1].write(request(more=b"Origin: http://there\r\n"))
        assert (await answer_of(third[0]))[1]["access-control-allow-origin"] == "http://there"
        # Requests that do not compute are not refused.
        third[1].write(request("/livez", "GET", b""))
        assert (await answer_of(third[0]))[0] == 200
        second[1].close()
        # A client that has gone makes room.
        await until(lambda: not waiting.gate.full)
        third[1].write(request())
        await until(lambda: waiting.gate.full)
        waiting.opened.set()
        assert [(await answer_of(reader))[0] for reader, _ in (first, third)] == [200, 200]
        for _, writer in (first, third):
            writer.close()


def test_overload_is_refused_while_read() -> None:
    asyncio.run(overload())


async def bodies_of_the_refused() -> None:
    waiting = Waiting(0)
    async with listening(waiting.application, gate=waiting.gate) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request(body=100_000 * b"a") + request("/x", "GET", b""))
        assert [(await answer_of(reader))[0] for _ in range(2)] == [503, 200]
        writer.write(request(more=b"Connection: close\r\n"))
        assert (await answer_of(reader))[0] == 503
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


def test_a_refused_body_is_skipped() -> None:
    asyncio.run(bodies_of_the_refused())


async def an_early_answer() -> None:
    async def refuse(_: Request) -> PlainTextResponse:
        return PlainTextResponse("no", 413)

    async with listening(Starlette(routes=[Route("/predict", refuse, methods=["POST"])])) as address:
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(2):
            writer.write(request(body=10 * b"a")[:-5])
            assert (await answer_of(reader))[0] == 413
            writer.write(5 * b"a")
        writer.write(request())
        assert (await answer_of(reader))[0] == 413
        writer.close()


def test_the_rest_of_an_answered_body_is_skipped() -> None:
    asyncio.run(an_early_answer())


async def other_methods() -> None:
    waiting, before = Waiting(0), unread()
    async with listening(waiting.application, gate=waiting.gate) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request(method="GET", body=b""))
        assert (await answer_of(reader))[0] == 200
        writer.write(request(method="HEAD", body=b"") + request("/x", "GET", b""))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 503 ")
        writer.write(request("/slow"))
        assert [(await answer_of(reader))[0] for _ in range(2)] == [200, 200]
        writer.close()
    assert unread() == before


def test_only_what_asks_to_compute_is_turned_away() -> None:
    asyncio.run(other_methods())


async def in_parts() -> None:
    waiting = Waiting()
    waiting.opened.set()
    async with listening(waiting.application, gate=waiting.gate) as address:
        together = [await asyncio.open_connection(*address) for _ in range(20)]
        for _, writer in together:
            writer.write(request())
        assert [(await answer_of(reader))[0] for reader, _ in together] == 20 * [200]
        reader, writer = together[0]
        for packet in (request()[:40], request()[40:-1], request()[-1:], 3 * request(), request()[:-1], b"b"):
            # The requests come in parts, without waiting for answers.
            writer.write(packet)
            await asyncio.sleep(0.01)
        assert [(await answer_of(reader))[0] for _ in range(5)] == 5 * [200]
        writer.write(request(more=b"Expect: 100-continue\r\n")[:-2])
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 100 ")
        writer.write(b"ab")
        assert (await answer_of(reader))[0] == 200
        for _, writer in together:
            writer.close()


def test_however_requests_come_all_are_answered() -> None:
    asyncio.run(in_parts())


MALFORMED = {
    "an address without a path": b"GET http://here HTTP/1.1\r\nHost: here\r\n\r\n",
    "a port that is none": b"GET http://here:99999/ HTTP/1.1\r\nHost: here\r\n\r\n",
    "a request": b"\x16\x03\x01 what\r\n\r\n",
    "a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
}


@pytest.mark.parametrize("packet", MALFORMED.values(), ids=MALFORMED)
def test_invalid_http_is_refused_with_a_sentence(packet: bytes) -> None:
    head, _, body = answered(packet).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert json.loads(body)["error"].startswith("The request is not HTTP")


UNFINISHED = {
    "nothing": (b"", b""),
    "a part of the headers": (HEAD, b"HTTP/1.1 408 "),
    "an empty line": (b"\r\n", b""),
    "the body of a refused request": (request(body=9 * b"a")[:-5], b"HTTP/1.1 503 "),
}


@pytest.mark.parametrize(("packet", "answer"), UNFINISHED.values(), ids=UNFINISHED)
def test_a_stalled_client_is_closed(monkeypatch: pytest.MonkeyPatch, packet: bytes, answer: bytes) -> None:
    async def story() -> bytes:
        return await sent(packet, gate=Gate(Limits(running=0, waiting=0)))

    monkeypatch.setattr("serving.wire.http_protocol.PATIENCE_SECONDS", 0.05)
    received = asyncio.run(story())
    assert received.startswith(answer)
    assert bool(received) == bool(answer)
    assert received.count(b"HTTP/1.1") <= 1


async def patience_while_it_answers() -> None:
    gate = Waiting()
    async with listening(gate.application, gate=gate.gate) as address:
        reader, writer = await asyncio.open_connection(*address)
        # The second request is not read before the first is answered.
        writer.write(request() + request()[:-1])
        await asyncio.sleep(0.3)
        gate.opened.set()
        assert (await answer_of(reader))[0] == 200
        writer.write(b"b")
        assert (await answer_of(reader))[0] == 200
        writer.close()


def test_slow_answers_are_not_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.wire.http_protocol.PATIENCE_SECONDS", 0.15)
    asyncio.run(patience_while_it_answers())


UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n"


async def upgrades(most: int) -> list[int]:
    waiting = Waiting(most)
    waiting.opened.set()
    async with listening(waiting.application, gate=waiting.gate) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request() + request(more=UPGRADE))
        statuses = [(await answer_of(reader))[0] for _ in range(2)]
        writer.close()
    return statuses


@pytest.mark.parametrize(("most", "status"), [(9, 200), (0, 503)])
def test_upgrades_are_answered_as_plain_requests(most: int, status: int) -> None:
    assert asyncio.run(upgrades(most)) == [status, status]


async def early(keep_alive: float, *packets: bytes, full: bool = False) -> bytes:
    """Send packets to a server that refuses each request before its body comes, and return what it answers."""

    async def refuse(_: Request) -> PlainTextResponse:
        return PlainTextResponse("no", 413)

    gate = Gate(Limits(running=0, waiting=0)) if full else None
    async with listening(Starlette(routes=[Route("/{path}", refuse, methods=["POST"])]), keep_alive, gate) as address:
        reader, writer = await asyncio.open_connection(*address)
        for packet in packets:
            writer.write(packet)
            await asyncio.sleep(0.05)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


def test_an_early_answered_connection_idles_as_usual() -> None:
    assert asyncio.run(early(0.2, request()[:-1], b"b")).count(b"413") == 1


CHUNKED = b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
WRONG = {"a chunk": [b"no length\r\n"], "trailers": [b"0\r\n", *3 * [PACKET]]}


@pytest.mark.parametrize("rest", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("full", [True, False])
def test_what_has_been_refused_is_not_answered_again(rest: list[bytes], full: bool) -> None:
    answer = asyncio.run(early(5, CHUNKED, *rest, full=full))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 503 " if full else b"HTTP/1.1 413 ")


async def asks_on_after_refusals() -> None:
    waiting = Waiting(0)
    opened = asyncio.Event()

    async def wait(_: Request) -> PlainTextResponse:
        await opened.wait()
        return PlainTextResponse("done")

    waiting.application.router.routes.insert(0, Route("/long", wait, methods=["POST"]))
    async with listening(waiting.application, keep_alive=0.2, gate=waiting.gate) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(2 * request() + request("/long"))
        assert [(await answer_of(reader))[0] for _ in range(2)] == [503, 503]
        await asyncio.sleep(0.5)
        opened.set()
        assert (await answer_of(reader))[0] == 200
        writer.close()


def test_a_refusal_keeps_a_pending_answer() -> None:
    asyncio.run(asks_on_after_refusals())


async def large_and_last(start: bytes) -> tuple[bytes, bytes]:
    """Send a large request as clients do that read when all is sent, and return the answer."""
    waiting = Waiting(0)
    async with listening(waiting.application, gate=waiting.gate) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(start)
        for _ in range(50):
            writer.write(100_000 * b"a")
            await writer.drain()
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        writer.close()
        return head, body


LAST_ONES = {
    "that close": request(body=b"", more=b"Connection: close\r\n"),
    "of HTTP/1.0": request(body=b"", more=b"Connection: keep-alive\r\n").replace(b"1.1", b"1.0"),
}


@pytest.mark.parametrize("start", LAST_ONES.values(), ids=LAST_ONES)
def test_clients_may_send_all_before_reading(start: bytes) -> None:
    head, body = asyncio.run(large_and_last(start.replace(b"Length: 0", b"Length: 5000000")))
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in head
    assert body.startswith(b'{"error":')


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
SIZES = {
    "in one packet": [request("/", more=H2C) + request("/")],
    "the body by itself": [request("/", more=H2C)[:-2], b"ab", request("/")],
    "the headers in parts": [request("/", more=H2C)[:50], request("/", more=H2C)[50:], request("/")],
    "two in one packet": [request("/", more=H2C) + request("/", more=H2C)],
}


@pytest.mark.parametrize("packets", SIZES.values(), ids=SIZES)
def test_an_upgrades_body_is_read(packets: list[bytes]) -> None:
    answer = answered(*packets, HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\nb")
    assert re.findall(rb"\r\n\r\n(\d)", answer) == [b"2", b"2", b"1"]


def test_an_upgrades_large_body_is_read() -> None:
    start = HEAD + b"Content-Length: 400000\r\n" + H2C + b"\r\n"
    last = HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    assert re.findall(rb"\r\n\r\n(\d+)", answered(start, 400_000 * b"a" + last)) == [b"400000", b"0"]


def test_many_upgrades_in_a_packet_are_answered() -> None:
    last = HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    assert answered(MAX_REQUESTS_IN_LINE * request("/", more=H2C) + last).count(b"200 OK") == MAX_REQUESTS_IN_LINE + 1


async def one_by_one(monkeypatch: pytest.MonkeyPatch) -> int:
    begun = 0
    begin = BoundedProtocol.on_message_begin

    def counting(protocol: BoundedProtocol) -> None:
        nonlocal begun
        begun += 1
        begin(protocol)

    monkeypatch.setattr(BoundedProtocol, "on_message_begin", counting)
    gate = Waiting()
    async with listening(gate.application, gate=gate.gate) as address:
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(9):
            writer.write(request())
            await asyncio.sleep(0.02)
        early = begun
        gate.opened.set()
        assert [(await answer_of(reader))[0] for _ in range(9)] == 9 * [200]
        writer.close()
    return early


def test_reading_waits_for_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    # The second one shows that the client does not wait.
    assert asyncio.run(one_by_one(monkeypatch)) == 2


def test_too_many_in_line_close_the_connection() -> None:
    answer = answered(10 * MAX_REQUESTS_IN_LINE * request("/"))
    assert answer.count(b"200 OK") == MAX_REQUESTS_IN_LINE + 1
    assert answer.count(b"connection: close") == 1


class Paused:
    """A transport that knows whether it is read."""

    reads = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return False


def test_reading_waits_for_answers_being_taken() -> None:
    transport, line = Paused(), ["a request"]
    flow = Flow(transport, line)  # type: ignore[arg-type]
    flow.pause_writing()
    for step in (flow.resume_reading, flow.resume_writing):
        step()
        assert not transport.reads
    line.clear()
    flow.resume_writing()
    assert transport.reads
    flow.pause_reading()
    flow.ended = True
    flow.resume_reading()
    assert not transport.reads


async def in_line() -> list[bool]:
    waiting, full = Waiting(3), []
    async with listening(waiting.application, gate=waiting.gate) as address:
        both = [await asyncio.open_connection(*address) for _ in range(2)]
        for _, writer in both:
            writer.write(5 * request())
            await asyncio.sleep(0.05)
            full.append(waiting.gate.full)
        waiting.opened.set()
        for reader, writer in both:
            assert [(await answer_of(reader))[0] for _ in range(5)] == 5 * [200]
            writer.close()
    return full


def test_of_a_connection_one_request_counts() -> None:
    assert asyncio.run(in_line()) == [False, False]


class Large:
    """An application of a large answer, which notes when the client is gone."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.application = Starlette(routes=[Route("/", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            try:
                for _ in range(100):
                    yield 10**6 * b"x"
            finally:
                self.gone.set()

        await request.body()
        return StreamingResponse(parts())


async def without_reading() -> None:
    large = Large()
    async with listening(large.application) as address:
        with socket.create_connection(address) as client:
            client.sendall(request("/"))
            await asyncio.wait_for(large.gone.wait(), 20)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can end such connections")
def test_a_client_that_never_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "UNREAD_SECONDS", 0.3)
    asyncio.run(without_reading())
