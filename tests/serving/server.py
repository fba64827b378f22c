"""A real ``bentoml serve``, for tests that need the processes and the wire."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """A running service: where it answers and what it logs."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def running_server(
    bundle: Path | str, target: str = ".", ready: bool = True, options: tuple[str, ...] = (), **environment: str
) -> Iterator[Server]:
    """Serve ``bundle`` with ``bentoml serve`` on a free port until the block ends.

    Args:
        bundle: the bundle's folder, or all that CLUSTNET_BUNDLES can be.
        target: what BentoML serves, by default the repository.
        ready: wait until /readyz is 200; else until /livez is.
        options: more of the command's.
        environment: settings, for example ``CLUSTNET_WORKERS="2"``.
    """
    with tempfile.TemporaryDirectory(prefix="clustnet-serve-") as home, free_port() as port:
        log = Path(home) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*serve_command(port, target), *options],
                cwd=REPOSITORY,
                env=serve_environment(bundle, Path(home), **environment),
                stdout=output,
                stderr=output,
            )
        server = Server(f"http://127.0.0.1:{port}", process, log)
        try:
            _wait(server, "/readyz" if ready else "/livez")
            yield server
        finally:
            if process.poll() is None:
                server.stop()


@contextmanager
def running_service(bundle: Path | str, **environment: str) -> Iterator[str]:
    """Serve ``bundle`` as ``running_server`` does and yield its URL."""
    with running_server(bundle, **environment) as server:
        yield server.url


def serve_command(port: int, target: str = ".") -> list[str]:
    """Return the command that serves on ``port``."""
    bentoml = Path(sys.executable).with_name("bentoml")
    return [str(bentoml), "serve", target, "--host", "127.0.0.1", "--port", str(port)]


def serve_environment(bundle: Path | str, home: Path, **environment: str) -> dict[str, str]:
    """Return an environment with a BENTOML_HOME of its own, for the bentos that are built there."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLUSTNET_")}
    own = {"CLUSTNET_BUNDLES": str(bundle), "CLUSTNET_DEVICE": "cpu", "BENTOML_HOME": str(home)}
    return inherited | own | environment


@contextmanager
def free_port() -> Iterator[int]:
    """Yield a port that is free, and kept from other callers by a bound socket that shares it."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def _wait(server: Server, path: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if httpx.get(server.url + path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"The service did not start:\n{server.log.read_text()}")
