"""The servers that are compared: how each is started, and the requests it takes."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.requests import Request, base64_pixels, binary_v2, json_images, json_v2, raw_pixels

REPOSITORY = Path(__file__).resolve().parents[1]
START_SECONDS = 120
STOP_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A server of the bundle.

    Args:
        name: its name in the table.
        environment: the folder under .venv that holds its packages.
        command: arguments that start it, after ``python`` and before the port.
        bytes_of: returns the cheapest request for client and server with a number of images.
        json_of: returns the request with a number of images in JSON.
    """

    name: str
    environment: str
    command: tuple[str, ...]
    bytes_of: Callable[[int], Request]
    json_of: Callable[[int], Request]

    @property
    def python(self) -> Path:
        """The interpreter that has its packages."""
        own = REPOSITORY / ".venv" / self.environment / "bin" / "python"
        return Path(sys.executable) if self.environment == "all" else own


CLUSTNET = Server("ClustNet", "all", ("-m", "bentoml", "serve", "--port"), binary_v2, json_images)
STARLETTE = Server("Starlette, the least", "all", ("-m", "benchmarks.peers.starlette_app"), binary_v2, json_images)
LITSERVE = Server("LitServe", "peers/litserve", ("-m", "benchmarks.peers.litserve_app"), base64_pixels, json_images)
MLSERVER = Server("MLServer", "peers/mlserver", ("-m", "benchmarks.peers.mlserver_model"), json_v2, json_v2)
RAY = Server("Ray Serve", "peers/ray", ("-m", "benchmarks.peers.ray_app"), raw_pixels, json_images)


@contextmanager
def running(
    server: Server,
    bundle: Path,
    cores: Sequence[int],
    settings: dict[str, str] | None = None,
    ready: Request | None = None,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a server on some of the cores until the block ends; yield its URL and first process.

    Args:
        server: the server to start.
        bundle: the bundle to serve.
        cores: the cores to run it on.
        settings: environment variables besides those of all servers.
        ready: the request that is repeated until the server answers; by default a prediction.

    Raises:
        RuntimeError: the server does not answer; the message holds its log.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="clustnet-bench-") as home, (Path(home) / "log").open("w+b") as log:
        command = pinned([str(server.python), *server.command, str(port)], cores)
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(bundle, home, settings), stdout=log, stderr=log, process_group=0
        )
        try:
            url = f"http://127.0.0.1:{port}"
            if not _answers(url, ready or server.json_of(1), process):
                raise RuntimeError(f"{server.name} does not answer:\n{(Path(home) / 'log').read_text()[-3000:]}")
            yield url, process
        finally:
            _stop(process)


def pinned(command: Sequence[str], cores: Sequence[int]) -> list[str]:
    """Return the command that runs ``command`` on these cores only."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]


def environment(bundle: Path, home: str, settings: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables of all servers: the bundle, one thread each, no telemetry; and ``settings``."""
    own = {"CLUSTNET_BUNDLES": str(bundle.resolve()), "CLUSTNET_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    return os.environ | own | quiet | {"PYTHONPATH": str(REPOSITORY), "BENTOML_HOME": home} | (settings or {})


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str, request: Request, process: subprocess.Popen[bytes]) -> bool:
    """Return whether the server answers a request in time."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if send(url, request).is_success:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    return False


def send(url: str, request: Request) -> httpx.Response:
    """Send a request once on a new connection, by GET if it has no body, and return the response."""
    method = "POST" if request.body else "GET"
    return httpx.request(method, url + request.path, content=request.body, headers=request.headers, timeout=30)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the process and all processes that it started."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
