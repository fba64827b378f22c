import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from uvicorn.config import LOOP_FACTORIES

import serving
from serving.accepting import FairLoop, OneByOne

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


def run(test: object) -> None:
    with asyncio.Runner(loop_factory=FairLoop) as runner:
        runner.run(test)  # type: ignore[arg-type]


async def greeting(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def test_bentoml_gets_this_loop() -> None:
    assert serving.__name__ == "serving"
    assert LOOP_FACTORIES["auto"] == "serving.accepting:loop_factory"


def test_all_who_come_together_are_accepted_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    accept = OneByOne._accept

    def counting(server: OneByOne) -> None:
        before = len(server._beginning)
        accept(server)
        rounds.append(len(server._beginning) - before)

    async def test() -> None:
        loop = asyncio.get_running_loop()
        with shared_socket() as shared:
            server = await loop.create_server(Greet, sock=shared, backlog=CLIENTS)
            greetings = await asyncio.gather(*(greeting(shared.getsockname()) for _ in range(CLIENTS)))
            assert greetings == CLIENTS * [b"hello"]
            server.close()
            server.close()
            await server.wait_closed()

    monkeypatch.setattr(OneByOne, "_accept", counting)
    run(test())
    assert (sum(rounds), max(rounds)) == (CLIENTS, 1)


def test_without_a_socket_the_loop_listens_as_ever() -> None:
    async def test() -> None:
        server = await asyncio.get_running_loop().create_server(Greet, "127.0.0.1", 0)
        assert not isinstance(server, OneByOne)
        assert await greeting(server.sockets[0].getsockname()) == b"hello"
        server.close()

    run(test())


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
            server.close()

    monkeypatch.setattr("serving.accepting.REST_SECONDS", 0.01)
    run(test())
    assert "No connection can be accepted: Too many open files." in caplog.text
