"""Ray on this machine. Its start takes long, so one run, as a user would start it, shows everything."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from pyarrow.fs import LocalFileSystem

from clustnet.cli import DONE, WRONG_INPUT, main
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from tests.evaluation.image_files import write_parquet

REPOSITORY = Path(__file__).resolve().parents[3]
WORKERS = 2
IMAGES = 12_000


@pytest.fixture
def digits(tmp_path: Path, mnist_test: LabelledImages) -> str:
    """Two files of twelve row groups each, and between them one that is no Parquet."""
    folder = tmp_path / "digits"
    for name in ("a", "c"):
        write_parquet(folder / f"{name}.parquet", mnist_test.first(IMAGES // 2), row_group=500)
    (folder / "b.parquet").write_bytes(b"no Parquet")
    return f"file://{folder}/*.parquet"


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Ray's files go to a folder of a short name, as its sockets have theirs from it."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    more = {"RAY_TMPDIR": folder, "PYTHONPATH": str(REPOSITORY)}
    yield os.environ | more
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


def worker_processes(pid: int) -> list[psutil.Process]:
    descendants = psutil.Process(pid).children(recursive=True)
    return [process for process in descendants if "".join(process.cmdline()[:1]).startswith("ray::MapWorker")]


def kill_one(pid: int) -> None:
    workers = worker_processes(pid)
    assert len(workers) == WORKERS
    os.kill(workers[0].pid, signal.SIGKILL)
    assert not psutil.wait_procs(workers[:1], timeout=30)[1]


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(
    digits: str,
    tmp_path: Path,
    environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; it has no build for this machine.")
    local, on_ray = tmp_path / "local", tmp_path / "on_ray"
    # It is slow enough to be interrupted.
    bundle = REPOSITORY / "models" / "mnist"
    given = ["evaluate", "--bundle", str(bundle), "--data", digits, "--out"]
    command = [sys.executable, "-m", "clustnet", *given, str(on_ray), "--engine", "ray", "--workers", str(WORKERS)]
    done = []
    with started(command, environment) as process:
        for line in process.stderr:
            done += [int(found[1]) for found in [re.fullmatch(rf"(\d+) of {IMAGES} images\n", line)] if found]
            if len(done) == 1:
                kill_one(process.pid)
                done.append(0)
        shown = process.stdout.read()
    assert process.returncode == DONE
    assert done[-1] == IMAGES
    # The run went on for a while after the kill.
    assert done[2] < IMAGES

    assert main([*given, str(local)]) == DONE
    assert shown == capsys.readouterr().out.replace(str(local), str(on_ray))
    assert f"on {IMAGES:,} images of {digits}" in shown
    assert "not read: 1 files or images, see unread.csv" in shown
    assert {file.name for file in local.iterdir()} == {file.name for file in on_ray.iterdir()}
    for file in local.iterdir():
        assert file.read_bytes() == (on_ray / file.name).read_bytes(), file.name


def test_a_missing_ray_says_how_to_install(
    synthetic_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "evaluation.files.ray_engine", raising=False)
    given = ("--bundle", str(synthetic_bundle), "--data", "x.parquet", "--out", str(tmp_path / "out"))
    assert main(["evaluate", *given, "--engine", "ray"]) == WRONG_INPUT
    assert "needs ray; install it with: pip install '.[ray]' in the repository" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["The current node timed out.", ""])
def test_ray_that_does_not_start_is_reported(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; it has no build for this machine.")
    from evaluation.files import ray_engine

    def failing(**_: object) -> None:
        raise Exception(fault)

    monkeypatch.setattr(ray_engine.ray, "init", failing)
    with pytest.raises(UserError, match=f"Ray cannot be started or joined: {fault or 'Exception'}"):
        next(ray_engine.score_on_ray(Path("x"), "cpu", LocalFileSystem(), []))


def test_nothing_is_reported_to_rays_makers() -> None:
    """Ray reads these variables before it starts anything."""
    pytest.importorskip("ray", reason="Ray is not installed; it has no build for this machine.")
    code = """
import evaluation.files.ray_engine
from ray._common.usage import usage_lib
print(usage_lib.usage_stats_enabled())
"""
    shown = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
