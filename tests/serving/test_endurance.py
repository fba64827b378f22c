"""What a real server bears: slow and idle clients, SIGTERM while it works, workers that are killed."""

import json
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from serving.gate import Limits
from serving.wire.address import check_free
from tests.serving.server import Server, running_server

# This is more than a process may usually have.
IDLE = 1200
# The usual limit of descriptors.
USUAL = 1024
GRACE = ("--timeout-graceful-shutdown", "1")
BODY = json.dumps({"images": np.zeros((1, 28, 28), int).tolist()}).encode()
HEAD = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
)


def connect(server: Server) -> socket.socket:
    address = httpx.URL(server.url)
    return socket.create_connection((address.host, address.port or 80), timeout=20)


@contextmanager
def half_sent(server: Server) -> Iterator[socket.socket]:
    """A request that the service has begun to read, and of whose body half is missing."""
    with connect(server) as connection:
        connection.sendall(HEAD % len(BODY))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(BODY[: len(BODY) // 2])
        yield connection


def finish(connection: socket.socket) -> bytes:
    """Send the rest and return the answer."""
    connection.sendall(BODY[len(BODY) // 2 :])
    return b"".join(iter(lambda: connection.recv(2**16), b""))


def ready(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/readyz", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def trickle(connection: socket.socket, stop: threading.Event) -> None:
    """Send a byte a second of a body that would take hours."""
    connection.sendall(HEAD % 10_000)
    while not stop.wait(1):
        connection.sendall(b" ")


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Let this process, and those that it starts, have so many files and connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_slow_and_idle_clients_hold_up_nobody(synthetic_bundle: Path) -> None:
    with ExitStack() as stack:
        with descriptors(USUAL):
            server = stack.enter_context(running_server(synthetic_bundle, options=GRACE))
        stack.enter_context(descriptors(USUAL + IDLE))
        for _ in range(IDLE):
            stack.enter_context(connect(server))
        stop = threading.Event()
        slow = [threading.Thread(target=trickle, args=(stack.enter_context(connect(server)), stop)) for _ in range(8)]
        for thread in slow:
            thread.start()
        # Each has sent a byte or two.
        time.sleep(2)
        with httpx.Client(base_url=server.url, timeout=20) as client:
            answers = [client.post("/predict", content=BODY, headers={"content-type": "application/json"})]
            answers += [client.get("/readyz"), client.get("/metrics"), httpx.get(f"{server.url}/", timeout=20)]
        stop.set()
        for thread in slow:
            thread.join()
        assert {answer.status_code for answer in answers} == {200}
        # All of them are still connected.
        assert server.stop() == 0


def test_sigterm_ends_readiness_and_accepted_requests_are_answered(synthetic_bundle: Path) -> None:
    with running_server(synthetic_bundle) as server, half_sent(server) as connection, connect(server):
        assert ready(server)
        server.process.terminate()
        deadline = time.monotonic() + 20
        while ready(server):
            assert time.monotonic() < deadline
        # It waits for the request.
        assert server.process.poll() is None
        answer = finish(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"predictions":[{' in answer
        assert server.process.wait(timeout=20) == 0
        assert "Traceback" not in server.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot")
def test_a_worker_ends_with_its_parent(synthetic_bundle: Path) -> None:
    with running_server(synthetic_bundle, options=GRACE) as server:
        (worker,) = psutil.Process(server.process.pid).children()
        server.process.kill()
        deadline = time.monotonic() + 20
        # It stays as a zombie where nobody waits for orphans.
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        address = httpx.URL(server.url)
        check_free(address.host, address.port or 80)


@pytest.mark.parametrize("receiver", ["parent", "worker"])
def test_sighup_restarts_no_worker(synthetic_bundle: Path, receiver: str) -> None:
    with running_server(synthetic_bundle, options=GRACE) as server:
        parent = psutil.Process(server.process.pid)
        workers = parent.children()
        (parent if receiver == "parent" else workers[0]).send_signal(signal.SIGHUP)
        # A parent that heeds it starts another worker at once.
        time.sleep(1)
        assert ready(server)
        assert parent.children() == workers
        assert server.stop() == 0


def test_a_stalled_client_cannot_delay_the_end(synthetic_bundle: Path) -> None:
    with running_server(synthetic_bundle, options=GRACE) as server, half_sent(server):
        assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"BENTOML_CONTAINERIZED": "true"}], ids=["plain", "container"])
def test_a_worker_that_is_killed_comes_back(synthetic_bundle: Path, environment: dict[str, str]) -> None:
    with running_server(synthetic_bundle, **environment) as server:
        (worker,) = psutil.Process(server.process.pid).children()
        worker.kill()
        deadline = time.monotonic() + 60
        while worker.is_running() or not ready(server):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        answer = httpx.post(f"{server.url}/predict", content=BODY, headers={"content-type": "application/json"})
        assert answer.status_code == 200
        # The limit is that of one worker, as the dead worker's is gone.
        room = f"\nclustnet_requests_in_flight_limit {Limits().requests:.1f}\n"
        assert room in httpx.get(f"{server.url}/metrics").text
        assert server.stop() == 0
