"""The same run by threads, by Ray, and by Ray when a worker is killed."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clustnet.cli import DONE, WRONG_INPUT, main
from tests.image_folder import write_coarse_folder
from tests.ray_processes import kill_one, ray_environment, started
from training.discover import shards
from training.discover.engines import on_threads
from training.discover.subtypes import read_subtypes

WORKERS = 2


def _doubling() -> Callable[[int], int]:
    return lambda number: 2 * number


def test_threads_answer_every_item() -> None:
    assert list(on_threads(_doubling, [3, 4])) == [(0, 6), (1, 8)]
    assert list(on_threads(_doubling, [])) == []


def test_workers_need_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["discover", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*words, "--workers", "2"]) == WRONG_INPUT
    assert "--workers goes with --engine ray" in capsys.readouterr().err


def test_a_missing_ray_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "clustnet.ray_cluster", raising=False)
    assert main(["discover", str(tmp_path), "--out", str(tmp_path / "run"), "--engine", "ray"]) == WRONG_INPUT
    assert "--engine ray needs ray; install it with: pip install '.[ray]'" in capsys.readouterr().err


@pytest.mark.slow
# Ray starts two workers and starts one of them again, which takes minutes on a busy machine.
@pytest.mark.timeout(900)
def test_ray_finds_what_threads_find(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; it has no build for this machine.")
    photos = write_coarse_folder(tmp_path / "photos", images=4 * shards.SHARD // 3)
    words = ["discover", str(photos), "--encoder", "lite0", "--subtypes", "2", "--epochs", "2", "--out"]
    local, on_ray = tmp_path / "local", tmp_path / "on_ray"
    command = [sys.executable, "-m", "clustnet", *words, str(on_ray), "--engine", "ray", "--workers", str(WORKERS)]
    killed = False
    with ray_environment() as environment, started(command, environment) as process:
        for line in process.stderr:
            if not killed and re.match("embed: ", line):
                kill_one(process.pid, WORKERS)
                killed = True
        shown = process.stdout.read()
    assert (process.returncode, killed) == (DONE, True), shown
    assert main([*words, str(local)]) == DONE
    assert [row.file for row in read_subtypes(local / "subtypes.csv")]
    assert (local / "subtypes.csv").read_bytes() == (on_ray / "subtypes.csv").read_bytes()
    np.testing.assert_array_equal(np.load(local / "rows" / "lite0.npy"), np.load(on_ray / "rows" / "lite0.npy"))
