"""A Docker engine: the one that runs here, or Debian's, started for as long as it is needed."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clustnet.errors import UserError

DEBIANS = "/usr/bin/docker"  # before what may stand in its place in PATH
START_SECONDS, STOP_SECONDS = 60, 120
NO_ENGINE = (
    "There is no running Docker engine here, and to start one takes root and Debian's docker.io; "
    "start Docker, or install docker.io and run this as root."
)


class Docker:
    """The docker command, with BuildKit, on one engine.

    Args:
        command: the path of the command.
        socket: the engine's socket; None is the engine that the command finds by itself.
    """

    def __init__(self, command: str, socket: Path | None = None) -> None:
        self._command = command
        host = {"DOCKER_HOST": f"unix://{socket}"} if socket else {}
        self._environment = os.environ | {"DOCKER_BUILDKIT": "1"} | host

    def build_network(self) -> list[str]:
        """Return the options with which a build reaches the network: the machine's, in an engine without a bridge."""
        return [] if self("network", "ls", "--quiet", "--filter", "name=^bridge$") else ["--network", "host"]

    def run_network(self, port: int) -> list[str]:
        """Return the options that make a container's ``port`` answer at the same port of 127.0.0.1."""
        return self.build_network() or ["--publish", f"127.0.0.1:{port}:{port}"]

    def try_(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``docker WORDS`` and return what came of it."""
        command = [self._command, *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    def __call__(self, *words: str) -> str:
        """Run ``docker WORDS`` and return its output.

        Raises:
            RuntimeError: it failed; the message ends with what it said.
        """
        done = self.try_(*words)
        if done.returncode:
            raise RuntimeError(f"docker {words[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout.strip()

    def pipe(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start ``docker WORDS`` with its input and output as pipes."""
        command = [self._command, *words]
        return subprocess.Popen(command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def answers(self) -> bool:
        """Tell whether the engine runs."""
        return self.try_("version", "--format", "{{.Server.Version}}").returncode == 0


def running_engine() -> Docker | None:
    """Return the engine that runs here, None where none does."""
    command = _command()
    docker = Docker(command) if command else None
    return docker if docker and docker.answers() else None


def _command() -> str | None:
    return DEBIANS if Path(DEBIANS).exists() else shutil.which("docker")


@contextmanager
def engine() -> Iterator[Docker]:
    """Yield the engine that runs here, or one that is started for the block.

    Raises:
        UserError: there is neither.
    """
    if docker := running_engine():
        yield docker
        return
    command = _command()
    daemon = shutil.which("dockerd", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    if not command or not daemon or os.geteuid() != 0:
        raise UserError(NO_ENGINE)
    with _started(daemon, command) as docker:
        yield docker


@contextmanager
def _started(daemon: str, command: str) -> Iterator[Docker]:
    """Start an engine with a socket and data of its own, which go when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="clustnet-docker-"))
    log = folder / "log"
    try:
        with log.open("wb") as output:
            # In a session of its own, so that ctrl-C ends it after its containers and not before.
            words = [daemon, *daemon_options(folder)]
            process = subprocess.Popen(words, stdout=output, stderr=output, start_new_session=True)
        try:
            docker = Docker(command, folder / "socket")
            _wait(docker, process, log)
            yield docker
        finally:
            _stop(process)
    finally:
        for mount in mounts_below(folder, Path("/proc/mounts").read_text()):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def daemon_options(folder: Path) -> Sequence[str]:
    """Return the options of a ``dockerd`` that keeps to ``folder`` and leaves the machine's network alone."""
    return [
        *("--host", f"unix://{folder / 'socket'}"),
        *("--data-root", str(folder / "data")),
        *("--exec-root", str(folder / "exec")),
        *("--pidfile", str(folder / "pid")),
        *("--storage-driver", "overlay2"),
        *("--iptables=false", "--ip6tables=false", "--bridge=none"),
    ]


def mounts_below(folder: Path, table: str) -> list[str]:
    """Return what ``table``, the text of ``/proc/mounts``, has mounted below ``folder``, the innermost first."""
    points = [line.split()[1] for line in table.splitlines()]
    return [point for point in reversed(points) if Path(point).is_relative_to(folder)]


def _wait(docker: Docker, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if docker.answers():
            return
        time.sleep(0.2)
    raise RuntimeError(f"dockerd did not start:\n{log.read_text()[-4000:]}")
