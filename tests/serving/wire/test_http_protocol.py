"""The limit to headers, against a real uvicorn on a socket."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.config import HTTP_PROTOCOLS

import serving
from serving.admission import Admission
from serving.rounds import Rounds
from serving.wire.http_protocol import MAX_OVERHEAD_BYTES, MAX_REQUESTS_IN_LINE, WRONG_HOST, BoundedProtocol, Flow

HEAD = b"POST / HTTP/1.1\r\nHost: here\r\n"
FILLER = b"X-%06d: " + 1000 * b"a" + b"\r\n"
PACKET = b"".join(FILLER % number for number in range(32))


@pytest.fixture(autouse=True)
def _no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the way past BentoML that the service sets, if another test has imported it."""
    monkeypatch.setattr(BoundedProtocol, "way", staticmethod(lambda app: app))


async def echo_size(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


def echo() -> Starlette:
    return Starlette(routes=[Route("/", echo_size, methods=["POST"])])


@asynccontextmanager
async def listening(application: Starlette, keep_alive: float = 5) -> AsyncIterator[tuple[str, int]]:
    config = uvicorn.Config(application, port=0, lifespan="off", log_level="error")
    config.timeout_keep_alive = keep_alive  # type: ignore[assignment] # uvicorn's option takes whole seconds
    server = uvicorn.Server(config)
    serve = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    assert issubclass(config.http_protocol_class, BoundedProtocol)  # type: ignore[arg-type]
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    await serve


async def sent(*packets: bytes) -> bytes:
    """Send packets one after the other and return what the server answers till it closes."""
    async with listening(echo()) as address:
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


def test_bentoml_gets_this_protocol() -> None:
    assert serving.__name__ == "serving"
    assert HTTP_PROTOCOLS["auto"] == "serving.wire.http_protocol:BoundedProtocol"


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


def test_requests_go_the_way_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "way", staticmethod(lambda app: CORSMiddleware(app, allow_origins=["*"])))
    request = HEAD + b"Origin: http://there\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert b"access-control-allow-origin: *" in answered(request)


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


class Gate:
    """An application whose answers to POST wait until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.application = Starlette(routes=[Route("/{path}", self.wait, methods=["GET", "POST"])])

    async def wait(self, request: Request) -> PlainTextResponse:
        await request.body()
        if request.method == "POST":
            await self.opened.wait()
        return PlainTextResponse("done")


# The number of whole and unanswered requests, each time it changed.
NUMBERS: list[int] = []


@contextmanager
def admitting(most: int, lets_in: bool = True) -> Iterator[tuple[Admission, list[str]]]:
    """Admit so many requests to /predict at a time, and list the paths that are refused."""
    refused: list[str] = []
    NUMBERS.clear()
    BoundedProtocol.admission = Admission(
        lambda path: path == "/predict", refused.append, most, NUMBERS.append, lets_in=lambda *_: lets_in
    )
    try:
        yield BoundedProtocol.admission, refused
    finally:
        BoundedProtocol.admission = None


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
    gate = Gate()
    with admitting(2) as (admission, refused):
        async with listening(gate.application) as address:
            first, second, third = [await asyncio.open_connection(*address) for _ in range(3)]
            first[1].write(request())
            second[1].write(request("/predict?model=a"))
            await until(lambda: admission.full)
            third[1].write(request(more=b"X-Request-Id: mine\r\n"))
            status, fields, body = await answer_of(third[0])
            assert (status, fields["retry-after"], fields["x-request-id"]) == (503, "1", "mine")
            assert json.loads(body) == {"error": "2 requests wait already; try again in 1 second."}
            # Requests that do not compute are always admitted.
            third[1].write(request("/livez", "GET", b""))
            assert (await answer_of(third[0]))[0] == 200
            # A request that has not begun is not refused either.
            third[1].write(request(body=b"")[:-2])
            second[1].close()
            # A client that has gone makes room.
            await until(lambda: not admission.full)
            third[1].write(b"\r\n")
            await until(lambda: admission.full)
            gate.opened.set()
            assert [(await answer_of(reader))[0] for reader, _ in (first, third)] == [200, 200]
            await until(lambda: admission.count == 0)
            for _, writer in (first, third):
                writer.close()
    assert refused == ["/predict"]
    assert NUMBERS == [1, 2, 1, 2, 1, 0]


def test_overload_is_refused_while_read() -> None:
    asyncio.run(overload())


async def bodies_of_the_refused() -> None:
    gate = Gate()
    with admitting(0):
        async with listening(gate.application) as address:
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

    with admitting(1) as (admission, _):
        async with listening(Starlette(routes=[Route("/predict", refuse, methods=["POST"])])) as address:
            reader, writer = await asyncio.open_connection(*address)
            for _ in range(2):
                writer.write(request(body=10 * b"a")[:-5])
                assert (await answer_of(reader))[0] == 413
                writer.write(5 * b"a")
            writer.write(request())
            assert (await answer_of(reader))[0] == 413
            assert admission.count == 0
            writer.close()


def test_an_early_answered_request_takes_no_room() -> None:
    asyncio.run(an_early_answer())


async def other_methods() -> None:
    gate = Gate()
    with admitting(0) as (_, refused):
        async with listening(gate.application) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(request(method="GET", body=b""))
            assert (await answer_of(reader))[0] == 200
            writer.write(request(method="HEAD", body=b"") + request("/x", "GET", b""))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert head.startswith(b"HTTP/1.1 200 ")
            # No body came before it.
            assert (await answer_of(reader))[0] == 200
            writer.close()
    assert refused == []


def test_only_what_asks_to_compute_is_turned_away() -> None:
    asyncio.run(other_methods())


async def in_rounds() -> None:
    gate = Gate()
    gate.opened.set()
    with admitting(100) as (admission, _):
        async with listening(gate.application) as address:
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
            assert admission.count == 0
            for _, writer in together:
                writer.close()


@pytest.mark.parametrize("most", [1, 8])
def test_however_requests_come_all_are_handed_on(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(BoundedProtocol, "rounds", Rounds(most))
    asyncio.run(in_rounds())


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
        with admitting(0):
            return await sent(packet)

    monkeypatch.setattr("serving.wire.http_protocol.PATIENCE_SECONDS", 0.05)
    received = asyncio.run(story())
    assert received.startswith(answer)
    assert bool(received) == bool(answer)
    assert received.count(b"HTTP/1.1") <= 1


async def patience_while_it_answers() -> None:
    gate = Gate()
    async with listening(gate.application) as address:
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
    gate = Gate()
    gate.opened.set()
    with admitting(most) as (admission, _):
        async with listening(gate.application) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(request() + request(more=UPGRADE))
            statuses = [(await answer_of(reader))[0] for _ in range(2)]
            writer.close()
            await until(lambda: admission.count == 0)
    return statuses


@pytest.mark.parametrize(("most", "status"), [(9, 200), (0, 503)])
def test_upgrades_are_answered_as_plain_requests(most: int, status: int) -> None:
    assert asyncio.run(upgrades(most)) == [status, status]


async def early(keep_alive: float, *packets: bytes) -> bytes:
    """Send packets to a server that refuses each request before its body comes, and return what it answers."""

    async def refuse(_: Request) -> PlainTextResponse:
        return PlainTextResponse("no", 413)

    async with listening(Starlette(routes=[Route("/{path}", refuse, methods=["POST"])]), keep_alive) as address:
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
    with admitting(0 if full else 9):
        answer = asyncio.run(early(5, CHUNKED, *rest))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 503 " if full else b"HTTP/1.1 413 ")


async def asks_on_after_refusals() -> None:
    gate = Gate()
    with admitting(0):
        async with listening(gate.application, keep_alive=0.2) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(2 * request() + request("/long"))
            assert [(await answer_of(reader))[0] for _ in range(2)] == [503, 503]
            await asyncio.sleep(0.5)
            gate.opened.set()
            assert (await answer_of(reader))[0] == 200
            writer.close()


def test_a_refusal_keeps_a_pending_answer() -> None:
    asyncio.run(asks_on_after_refusals())


async def large_and_last(start: bytes) -> tuple[bytes, bytes]:
    """Send a large request as clients do that read when all is sent, and return the answer."""
    with admitting(0):
        async with listening(Gate().application) as address:
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


class Watchful(Gate):
    """The same, which looks meanwhile whether the client has gone."""

    async def wait(self, request: Request) -> PlainTextResponse:
        await request.body()
        while not self.opened.is_set():
            await request.is_disconnected()
            await asyncio.sleep(0.01)
        return PlainTextResponse("done")


async def one_by_one(monkeypatch: pytest.MonkeyPatch) -> int:
    begun = 0
    begin = BoundedProtocol.on_message_begin

    def counting(protocol: BoundedProtocol) -> None:
        nonlocal begun
        begun += 1
        begin(protocol)

    monkeypatch.setattr(BoundedProtocol, "on_message_begin", counting)
    gate = Watchful()
    async with listening(gate.application) as address:
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


async def in_line(lets_in: bool) -> list[int]:
    gate = Gate()
    counts = []
    with admitting(3, lets_in) as (admission, _):
        async with listening(gate.application) as address:
            first, second = [await asyncio.open_connection(*address) for _ in range(2)]
            for _, writer in (first, second):
                writer.write(5 * request())
                await asyncio.sleep(0.05)
                counts.append(admission.count)
            gate.opened.set()
            for reader, writer in (first, second):
                assert [(await answer_of(reader))[0] for _ in range(5)] == 5 * [200]
                writer.close()
            assert admission.count == 0
    return counts


@pytest.mark.parametrize(("lets_in", "counts"), [(True, [1, 2]), (False, [0, 0])])
def test_a_connection_counts_once_after_access(lets_in: bool, counts: list[int]) -> None:
    assert asyncio.run(in_line(lets_in)) == counts


@pytest.mark.parametrize("cut", [0, 600])
def test_large_headers_in_few_packets_are_refused(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.setattr("serving.wire.http_protocol.MAX_OVERHEAD_BYTES", 1000)
    large = request("/", more=FILLER % 0) + request("/")
    assert answered(large[:cut], large[cut:]).startswith(b"HTTP/1.1 431 ")
    last = b"Connection: close\r\n"
    assert answered(request("/", body=2000 * b"a", more=last)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("old", "hosts"), [(False, 0), (False, 2), (True, 2)])
def test_a_request_needs_one_host(old: bool, hosts: int) -> None:
    line = b"POST / HTTP/1.0\r\n" if old else b"POST / HTTP/1.1\r\n"
    head, _, body = answered(line + hosts * b"Host: here\r\n" + b"\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"] == WRONG_HOST


def test_old_clients_need_no_host() -> None:
    assert answered(b"POST / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
