"""A container of the image, run as a careful operator runs it."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.image.engine import Docker

HARDENED = [
    *("--read-only", "--tmpfs", "/tmp"),  # noqa: S108 - in the container
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "1g", "--pids-limit", "256"),
]
HEALTHY_SECONDS = 120
# BentoML's workers, as their command lines in /proc tell them.
WORKERS = """
import pathlib
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    if b"_bentoml_impl.worker.service" in (folder / "cmdline").read_bytes().split(b"\\0"):
        print(folder.name)
"""


@dataclass(frozen=True)
class Container:
    """A running container.

    Args:
        docker: its engine.
        name: its identifier.
        port: where it answers on 127.0.0.1.
    """

    docker: Docker
    name: str
    port: int

    def request(
        self, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Send GET, or POST with a body, and return the status and what was answered."""
        headers = {"Content-Type": content_type} if body is not None else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, path: str, body: bytes | None = None, content_type: str = "application/json") -> dict[str, object]:
        """Return the JSON of an answer of 200.

        Raises:
            RuntimeError: another status.
        """
        status, content = self.request(path, body, content_type)
        if status != 200:
            raise RuntimeError(f"{path} answered {status}: {content[:500]!r}")
        return dict(json.loads(content))

    def inside(self, *words: str) -> str:
        """Run a command in the container and return its output."""
        return self.docker("exec", self.name, *words)

    def workers(self) -> set[str]:
        """Return the process numbers of the workers, as the container counts."""
        return set(self.inside("python", "-c", WORKERS).split())

    def wait_healthy(self) -> float:
        """Wait for the image's own health check and return the seconds since the call.

        Raises:
            RuntimeError: it stopped, or is not healthy in time.
        """
        start = time.monotonic()
        status = ["running", "starting"]
        while status == ["running", "starting"] and time.monotonic() - start < HEALTHY_SECONDS:
            time.sleep(0.2)
            fields = "{{.State.Status}} {{.State.Health.Status}}"
            status = self.docker("inspect", "--format", fields, self.name).split()
        if status != ["running", "healthy"]:
            raise RuntimeError(f"The container is {' and '.join(status)}:\n{self.docker('logs', self.name)[-4000:]}")
        return time.monotonic() - start

    def exit_code(self) -> int:
        """Wait for the container's end and return its exit code."""
        return int(self.docker("wait", self.name))


@contextmanager
def running(docker: Docker, tag: str, **environment: str) -> Iterator[Container]:
    """Run an image hardened, with settings such as ``CLUSTNET_WORKERS="2"``, and remove the container at the end."""
    port = _free_port()
    settings = {"BENTOML_PORT": str(port)} | environment
    options = [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
    name = docker("run", "--detach", *HARDENED, *docker.run_network(port), *options, tag)
    try:
        yield Container(docker, name, port)
    finally:
        docker("rm", "--force", name)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
