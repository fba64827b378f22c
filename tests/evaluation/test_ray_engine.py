"""Ray on this machine: one cluster of two workers for all tests here."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from clustnet.cli import DONE, WRONG_INPUT, main
from clustnet.datasets import LabelledImages
from evaluation.file_evaluation import Part, evaluate_files, score_here
from evaluation.report import scores_json
from evaluation.scoring import FileEvaluation
from tests.evaluation.image_files import write_parquet

ray = pytest.importorskip("ray", reason="Ray is not installed; it has no build for this machine.")

WORKERS = 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    from evaluation.ray_engine import cluster_of

    with cluster_of(WORKERS):
        yield


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, mnist_test: LabelledImages) -> Path:
    """Two files of twelve row groups each, and one that is no Parquet."""
    folder = tmp_path_factory.mktemp("digits")
    for name in ("a", "c"):
        write_parquet(folder / f"{name}.parquet", mnist_test.first(6000), row_group=500)
    (folder / "b.parquet").write_bytes(b"no Parquet")
    return folder


def scored(
    bundle: Path, digits: Path, engine: str, progress: Callable[..., Iterable[Part]] = lambda parts, *_: parts
) -> FileEvaluation:
    from evaluation.ray_engine import score_on_ray

    run = partial(score_on_ray, workers=WORKERS) if engine == "ray" else score_here
    return evaluate_files(f"file://{digits}/*.parquet", bundle, "cpu", run, None, progress)


def worker_processes() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        words = process.cmdline()
        if words and words[0].startswith("ray::") and "Worker" in words[0] and "IDLE" not in words[0]:
            found.append(process)
    return found


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_loses_nothing(synthetic_bundle: Path, digits: Path) -> None:
    killed, before = [], []

    def killing(parts: Iterable[Part], total: int, size: Callable[[Part], int]) -> Iterator[Part]:
        for part in parts:
            if not killed:
                workers = worker_processes()
                assert len(workers) == WORKERS
                killed.append(workers[0])
                os.kill(workers[0].pid, signal.SIGKILL)
                workers[0].wait(10)
            before.append(size(part))
            yield part
        assert sum(before) == total

    found = scored(synthetic_bundle, digits, "ray", killing)
    assert killed
    assert len(before) == 24
    assert scores_json(found) == scores_json(scored(synthetic_bundle, digits, "local"))
    assert (len(found.data), found.unread.total) == (12_000, 1)


def test_nothing_is_told_to_rays_makers() -> None:
    from ray._private.usage import usage_lib

    import evaluation.ray_engine

    assert evaluation.ray_engine
    assert not usage_lib.usage_stats_enabled()


@pytest.mark.usefixtures("cluster", "quick_plots")
def test_the_command_tells_the_same_as_the_local_engine(
    synthetic_bundle: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {}
    for engine in ("local", "ray"):
        out = tmp_path / engine
        more = ("--engine", engine, "--limit", "3100", *(("--workers", "2") if engine == "ray" else ()))
        given = ("--bundle", str(synthetic_bundle), "--data", f"{digits}/*.parquet", "--out", str(out), *more)
        assert main(["evaluate", *given]) == DONE
        shown = capsys.readouterr()
        told[engine] = shown.out.replace(str(out), "OUT")
        assert shown.err.splitlines()[-1] == "3100 of 3100 images"
    assert told["ray"] == told["local"]
    assert "not read: 1 files or images, see unread.csv" in told["ray"]
    for file in (tmp_path / "local").iterdir():
        assert file.read_bytes() == (tmp_path / "ray" / file.name).read_bytes(), file.name


def test_without_ray_a_sentence_says_how_to_get_it(
    synthetic_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "evaluation.ray_engine", raising=False)
    given = ("--bundle", str(synthetic_bundle), "--data", "x.parquet", "--out", str(tmp_path / "out"))
    assert main(["evaluate", *given, "--engine", "ray"]) == WRONG_INPUT
    assert "needs ray; install it with: pip install 'clustnet[ray]'" in capsys.readouterr().err
