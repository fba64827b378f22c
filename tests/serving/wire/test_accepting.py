import asyncio
import errno
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.config import LOOP_FACTORIES

import serving
from serving.wire.accepting import MAX_DESCRIPTORS, AcceptingLoop, Acceptor, SharingLoop, loop_factory
from serving.wire.http_protocol import BoundedProtocol

CLIENTS = 20


class Greet(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")  # type: ignore[attr-defined]
        transport.close()


@contextmanager
def shared_socket() -> Iterator[socket.socket]:
    with socket.socket() as shared:
        shared.bind(("127.0.0.1", 0))
        yield shared


def run(test: object, factory: type[AcceptingLoop] = SharingLoop) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(test)  # type: ignore[arg-type]


async def stop(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()


async def greeting(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def test_bentoml_gets_this_loop() -> None:
    assert serving.__name__ == "serving"
    assert LOOP_FACTORIES["auto"] == "serving.wire.accepting:loop_factory"


@pytest.mark.parametrize(("workers", "expected"), [("1", AcceptingLoop), ("2", SharingLoop)])
def test_workers_share_and_one_alone_does_not(
    monkeypatch: pytest.MonkeyPatch, workers: str, expected: type[AcceptingLoop]
) -> None:
    monkeypatch.setenv("CLUSTNET_WORKERS", workers)
    assert loop_factory() is expected


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many connections each round accepts."""
    rounds: list[int] = []
    accept = Acceptor._accept

    def counting(server: Acceptor) -> None:
        before = len(server._beginning)
        accept(server)
        rounds.append(len(server._beginning) - before)

    monkeypatch.setattr(Acceptor, "_accept", counting)
    return rounds


async def all_are_greeted(busy_seconds: float = 0.0) -> None:
    """Let clients come together, perhaps while the loop's first rounds compute."""
    loop = asyncio.get_running_loop()
    with shared_socket() as shared:
        server = await loop.create_server(Greet, sock=shared, backlog=CLIENTS)
        clients = [asyncio.ensure_future(greeting(shared.getsockname())) for _ in range(CLIENTS)]
        for _ in range(5 if busy_seconds else 0):
            await asyncio.sleep(0)
            time.sleep(busy_seconds)
        assert await asyncio.gather(*clients) == CLIENTS * [b"hello"]
        server.close()
        server.close()
        await server.wait_closed()


def test_a_sharing_worker_takes_more_of_queues(accepted: list[int]) -> None:
    async def test() -> None:
        with shared_socket() as shared, ExitStack() as clients:
            shared.listen(CLIENTS)
            for _ in range(CLIENTS):
                clients.enter_context(socket.create_connection(shared.getsockname()))
            server = await asyncio.get_running_loop().create_server(Greet, sock=shared, backlog=CLIENTS)
            while sum(accepted) < CLIENTS:
                await asyncio.sleep(0.001)
            await stop(server)

    run(test())
    assert accepted == [*8 * [1], 2, 2, 2, 2, 3, 1]


def test_a_sharing_worker_takes_single_clients(accepted: list[int]) -> None:
    async def test() -> None:
        with shared_socket() as shared:
            server = await asyncio.get_running_loop().create_server(Greet, sock=shared)
            for _ in range(CLIENTS):
                assert await greeting(shared.getsockname()) == b"hello"
            await stop(server)

    run(test())
    assert set(accepted) <= {0, 1}


def test_a_worker_alone_accepts_all_who_wait(accepted: list[int]) -> None:
    run(all_are_greeted(busy_seconds=0.01), AcceptingLoop)
    assert sum(accepted) == CLIENTS
    assert max(accepted) > CLIENTS / 2


def test_without_a_socket_the_loop_listens_as_ever() -> None:
    async def test() -> None:
        server = await asyncio.get_running_loop().create_server(Greet, "127.0.0.1", 0)
        assert not isinstance(server, Acceptor)
        assert await greeting(server.sockets[0].getsockname()) == b"hello"
        server.close()

    run(test())


async def told_and_turned_away() -> None:
    loop = asyncio.get_running_loop()
    with shared_socket() as shared:
        address = shared.getsockname()
        server = await loop.create_server(Greet, sock=shared)
        assert await greeting(address) == b"hello"
        server.close()
        # uvicorn does so.
        shared.close()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 503 ")
        writer.close()
        await server.wait_closed()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)


@pytest.mark.parametrize("factory", [AcceptingLoop, SharingLoop])
def test_while_it_stops_newcomers_are_told_so(factory: type[AcceptingLoop]) -> None:
    run(told_and_turned_away(), factory)


def test_late_clients_are_answered_before_the_end() -> None:
    async def test() -> None:
        with shared_socket() as shared:
            server = await asyncio.get_running_loop().create_server(Greet, sock=shared)
            server.close()
            reader, writer = await asyncio.open_connection(*shared.getsockname())
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await server.wait_closed()
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 503 ")
            writer.close()

    run(test())


def test_connections_after_the_end_are_closed() -> None:
    async def test() -> None:
        config = uvicorn.Config(nothing, lifespan="off")
        config.load()
        state = uvicorn.server.ServerState()
        loop = asyncio.get_running_loop()
        with shared_socket() as shared:
            made = partial(BoundedProtocol, config=config, server_state=state, app_state={})
            server = await loop.create_server(made, sock=shared)
            with socket.create_connection(shared.getsockname()) as client:
                server._accept()  # type: ignore[attr-defined]
                server.close()
                await server.wait_closed()
                client.settimeout(10)
                assert await loop.run_in_executor(None, client.recv, 1) == b""
            assert not state.connections

    run(test())


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that is never asked."""


def test_a_stopping_worker_leaves_clients_to_others() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with shared_socket() as shared:
            stopping, other = [await loop.create_server(Greet, sock=shared) for _ in range(2)]
            stopping.close()
            for _ in range(CLIENTS):
                assert await greeting(shared.getsockname()) == b"hello"
            await stop(stopping)
            await stop(other)

    run(test())


def test_a_worker_without_descriptors_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        with shared_socket() as shared:
            server = await asyncio.get_running_loop().create_server(Greet, sock=shared)
            assert await greeting(shared.getsockname()) == b"hello"
            monkeypatch.setattr(socket.socket, "dup", exhausted)
            await stop(server)

    def exhausted(_: socket.socket) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    run(test())


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can end such connections")
def test_a_client_that_never_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[Exception | None] = []

    class Talk(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.write(10**7 * b"x")  # type: ignore[attr-defined]

        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(exc)

    async def test() -> None:
        with shared_socket() as shared:
            server = await asyncio.get_running_loop().create_server(Talk, sock=shared)
            with socket.create_connection(shared.getsockname()):
                async with asyncio.timeout(20):
                    while not lost:
                        await asyncio.sleep(0.01)
            await stop(server)

    monkeypatch.setattr("serving.wire.accepting.UNREAD_SECONDS", 0.1)
    run(test())
    assert [type(fault) for fault in lost] == [TimeoutError]


def test_workers_raise_the_connection_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: asked.append(both))
    for now, there_is in ((1024, 4096), (1024, resource.RLIM_INFINITY), (20_000, 20_000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, both=(now, there_is): both)
        loop_factory()
    assert asked == [(4096, 4096), (MAX_DESCRIPTORS, resource.RLIM_INFINITY)]


def test_without_descriptors_connections_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        faults = [OSError(errno.EMFILE, "Too many open files"), BlockingIOError(), ConnectionAbortedError()]

        class Exhausted(socket.socket):
            def accept(self) -> tuple[socket.socket, object]:
                if faults:
                    raise faults.pop(0)
                return super().accept()

        with Exhausted() as shared:
            shared.bind(("127.0.0.1", 0))
            server = await asyncio.get_running_loop().create_server(Greet, sock=shared)
            assert await greeting(shared.getsockname()) == b"hello"
            await stop(server)

    monkeypatch.setattr("serving.wire.accepting.REST_SECONDS", 0.01)
    run(test())
    assert "No connection can be accepted: Too many open files." in caplog.text
