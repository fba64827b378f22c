"""The loop of several workers, on a real socket."""

import asyncio
import errno
import logging
import socket
from collections.abc import Iterator

import pytest
import uvicorn
from uvicorn.config import LOOP_FACTORIES

from serving.wire import accepting
from serving.wire.accepting import Acceptor, SharingLoop, share_connections


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


class Hello(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")  # type: ignore[attr-defined]
        transport.close()


def clients(listening: socket.socket, count: int) -> list[socket.socket]:
    return [socket.create_connection(listening.getsockname()) for _ in range(count)]


async def heard(client: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(sock=client)
    said = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return said


def run(story: object) -> object:
    with asyncio.Runner(loop_factory=SharingLoop) as runner:
        return runner.run(story)  # type: ignore[arg-type]


def test_bentoml_gets_this_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    table = LOOP_FACTORIES.copy()
    monkeypatch.setattr(accepting, "LOOP_FACTORIES", table)
    share_connections()
    monkeypatch.setattr("uvicorn.config.LOOP_FACTORIES", table)
    assert uvicorn.Config(lambda: None).get_loop_factory() is SharingLoop


def test_all_who_wait_are_accepted_after_pauses(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    bursts: list[int] = []
    accept = Acceptor._accept

    def counting(self: Acceptor) -> None:
        before = self._burst
        accept(self)
        bursts.append(self._burst - before)

    async def story() -> list[bytes]:
        together = clients(listening, 40)
        server = await asyncio.get_running_loop().create_server(Hello, sock=listening)
        said = [await heard(each) for each in together]
        server.close()
        await server.wait_closed()
        return said

    monkeypatch.setattr(Acceptor, "_accept", counting)
    assert run(story()) == 40 * [b"hello"]
    # The first one alone, and more at a time the longer the queue is.
    assert (bursts[0], max(bursts) > 2) == (1, True)


def test_closed_it_accepts_no_more(listening: socket.socket) -> None:
    async def story() -> bytes:
        server = await asyncio.get_running_loop().create_server(Hello, sock=listening)
        await asyncio.sleep(0.02)
        server.close()
        (late,) = clients(listening, 1)
        reader, writer = await asyncio.open_connection(sock=late)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.1)
        writer.close()
        return b""

    run(story())


def test_without_descriptors_it_rests(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    monkeypatch.setattr(accepting, "REST_SECONDS", 0.05)
    faults = [OSError(errno.EMFILE, "Too many open files")]

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            if faults:
                raise faults.pop()
            return super().accept()

    async def story() -> bytes:
        server = await asyncio.get_running_loop().create_server(Hello, sock=Exhausted(fileno=listening.detach()))
        (client,) = clients(server.sockets[0], 1)  # type: ignore[arg-type]
        said = await heard(client)
        server.close()
        server.sockets[0].close()  # type: ignore[attr-defined]
        return said

    assert run(story()) == b"hello"
    assert "No connection can be accepted: Too many open files." in caplog.text


def test_without_a_socket_the_loop_listens_as_ever() -> None:
    async def story() -> bool:
        server = await asyncio.get_running_loop().create_server(Hello, "127.0.0.1", 0)
        server.close()
        return isinstance(server, Acceptor)

    assert run(story()) is False
