"""Ray on this machine. Its start takes long, so one run, as a user would start it, shows everything."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clustnet.cli import DONE, WRONG_INPUT, main
from clustnet.datasets import LabelledImages
from tests.evaluation.image_files import write_parquet
from tests.ray_processes import REPOSITORY, kill_one, ray_environment, started

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
    with ray_environment() as found:
        yield found


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
                kill_one(process.pid, WORKERS)
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
    for name in ("evaluation.files.ray_engine", "clustnet.ray_cluster"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    given = ("--bundle", str(synthetic_bundle), "--data", "x.parquet", "--out", str(tmp_path / "out"))
    assert main(["evaluate", *given, "--engine", "ray"]) == WRONG_INPUT
    assert "needs ray; install it with: pip install '.[ray]' in the repository" in capsys.readouterr().err
