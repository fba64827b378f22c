"""The whole way on small photographs by the real command: in one go, and killed in each step."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustnet.cli import main
from tests.image_folder import write_coarse_folder
from training.discover.embedding import ROWS
from training.discover.reading import FILES, load_problems
from training.discover.subtypes import read_subtypes

WORDS = ["--encoder", "none", "--subtypes", "2", "--epochs", "2"]
# What each step writes, in the order of the steps.
OUTPUTS = {
    "read": (FILES, "problems.csv", "thumbnails.npy", "images"),
    "embed": (ROWS, "small"),
    "cluster": ("partition.csv", "clusters"),
    "train": ("recipe.yaml", "scores.csv", "checkpoints", "tensorboard"),
    "write": ("subtypes.csv", "summary.csv", "merges.csv", "sheets", "report.html"),
}
SECONDS = 120


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photographs of three coarse labels and what goes wrong beside them."""
    folder = write_coarse_folder(tmp_path_factory.mktemp("discover") / "photos")
    (folder / "red" / "empty.jpg").touch()
    (folder / "blue" / "copy.png").write_bytes((folder / "blue" / "left_000.png").read_bytes())
    with Image.open(folder / "green" / "right_000.png") as image:
        image.resize((image.width * 2, image.height * 2)).save(folder / "green" / "twice.png")
    return folder


@pytest.fixture(scope="module")
def run(photos: Path) -> Path:
    """A finished run of the photographs."""
    run = photos.parent / "run"
    assert main(["discover", str(photos), "--out", str(run), *WORDS]) == 0
    return run


def _undo(run: Path, step: str) -> None:
    """Remove what a step and those after it have written."""
    names = list(OUTPUTS)
    for name in names[names.index(step) :]:
        for output in OUTPUTS[name]:
            path = run / output
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _killed(photos: Path, run: Path, step: str) -> None:
    """Start the command and kill it as soon as it is in a step."""
    command = [sys.executable, "-m", "clustnet", "discover", str(photos), "--out", str(run), *WORDS]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert any(f"] {step}" in line for line in process.stdout)
        # Of the training an epoch is finished first.
        if step == "train":
            assert any(line.startswith("epoch") for line in process.stdout)
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)


def test_subtypes_are_found(photos: Path, run: Path) -> None:
    rows = read_subtypes(run / "subtypes.csv")
    assert len(rows) == 61
    assert {row.coarse for row in rows} == {"blue", "green", "red"}
    right = []
    for label in ("blue", "green", "red"):
        of_left = [row.subtype for row in rows if row.coarse == label and "left" in row.file]
        of_right = [row.subtype for row in rows if row.coarse == label and "right" in row.file]
        right.append(max(set(of_left), key=of_left.count) != max(set(of_right), key=of_right.count))
    assert all(right)
    assert [problem.problem for problem in load_problems(run)] == ["is empty", "is equal to blue/copy.png"]
    assert next(row for row in rows if row.file == "green/twice.png").duplicate_of == "green/right_000.png"


def test_everything_is_written(run: Path) -> None:
    with (run / "summary.csv").open() as file:
        summary = list(csv.DictReader(file))
    sheets = sorted(path.name for path in (run / "sheets").iterdir())
    assert sheets == sorted(f"{row['subtype'].replace('/', '_')}.png" for row in summary)
    page = (run / "report.html").read_text()
    assert page.count("<figure>") == len(summary)
    assert "clustnet export" in page
    assert (run / "merges.csv").read_text().startswith("coarse,step,first,second,merged,distance,images,left\n")


def test_the_run_is_exported_with_its_names(run: Path) -> None:
    bundle = run.parent / "bundle"
    assert main(["export", str(run), "--out", str(bundle)]) == 0
    from clustnet.bundles.bundle import Bundle

    with (run / "summary.csv").open() as file:
        names = tuple(row["subtype"] for row in csv.DictReader(file))
    assert Bundle(bundle).manifest.class_names == names


def test_a_second_call_does_nothing(photos: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert main(["discover", str(photos), "--out", str(run), *WORDS]) == 0
    assert capsys.readouterr().out.count("done before") == 5
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


def test_other_images_are_refused(photos: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    added = photos / "red" / "new.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(added)
    try:
        assert main(["discover", str(photos), "--out", str(run), *WORDS]) == 2
    finally:
        added.unlink()
    assert "has changed since" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("step", list(OUTPUTS))
def test_a_killed_step_goes_on(photos: Path, run: Path, step: str) -> None:
    table = (run / "subtypes.csv").read_bytes()
    _undo(run, step)
    _killed(photos, run, step)
    assert main(["discover", str(photos), "--out", str(run), *WORDS]) == 0
    assert (run / "subtypes.csv").read_bytes() == table


def test_embeddings_are_clustered_without_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.repeat(np.arange(4), 30)
    rows = np.random.default_rng(0).normal(size=(120, 16)) + 9 * np.eye(4, 16)[truth]
    rows[5], rows[7] = np.nan, rows[6]
    np.save(tmp_path / "rows.npy", rows.astype(np.float32))
    np.save(tmp_path / "labels.npy", np.array(["a", "b"])[truth // 2])
    words = ["--labels", str(tmp_path / "labels.npy"), "--subtypes", "2"]
    assert main(["discover", str(tmp_path / "rows.npy"), "--out", str(tmp_path / "run"), *words]) == 0
    found = read_subtypes(tmp_path / "run" / "subtypes.csv")
    assert len({row.subtype for row in found}) == 4
    assert len(load_problems(tmp_path / "run")) == 2
    assert "there is nothing to serve" in capsys.readouterr().out
