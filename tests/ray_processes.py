"""A command on Ray, as a user would start it, one of whose workers is killed."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[1]


@contextmanager
def ray_environment() -> Iterator[dict[str, str]]:
    """Ray's files go to a folder of a short name, as its sockets have theirs from it."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    yield os.environ | {"RAY_TMPDIR": folder, "PYTHONPATH": str(REPOSITORY)}
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started(command: list[str], environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Start a command; whatever happens in the block, it and all its processes are gone at the end."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes) as process:
        try:
            yield process
            process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def kill_one(pid: int, workers: int) -> None:
    """Kill one of a command's workers, of which there are so many."""
    descendants = psutil.Process(pid).children(recursive=True)
    found = [process for process in descendants if "".join(process.cmdline()[:1]).startswith("ray::MapWorker")]
    assert len(found) == workers
    os.kill(found[0].pid, signal.SIGKILL)
    assert not psutil.wait_procs(found[:1], timeout=30)[1]
