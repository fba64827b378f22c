import csv
from pathlib import Path

import pytest

from clustnet import cli
from tests.review.runs import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "photos")


def call(run: Path, *words: str) -> int:
    return cli.main(["review", str(run), *words])


def listed(run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    assert call(run, *words, "--list") == cli.DONE, capsys.readouterr().err
    return [line.split() for line in capsys.readouterr().out.splitlines()[1:]]


def test_verbs_are_done_in_their_order(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--rename",
        "animals/1=cat",
        "--merge",
        "cat,animals/2",
        "--move",
        "animals/00000.jpg=vehicles/new",
        "--undo",
        "--redo",
    ]
    table = listed(run, capsys, *words)
    assert table == [
        ["animals/1", "cat", "29"],
        ["vehicles/1", "-", "15"],
        ["vehicles/2", "-", "15"],
        ["vehicles/3", "-", "1"],
    ]
    assert listed(run, capsys) == table
    assert listed(run, capsys, "--undo", "--undo")[:2] == [["animals/1", "cat", "15"], ["animals/2", "-", "15"]]


def test_a_split_is_kept_with_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Too few images for UMAP.
    run = write_run(tmp_path / "photos", 40)
    table = listed(run, capsys, "--merge", "animals/1,animals/2", "--split", "animals/1=2")
    assert [row[0] for row in table] == ["animals/1", "animals/3", "vehicles/1", "vehicles/2"]
    # It finds again what was merged.
    assert {row[2] for row in table} == {"10"}
    assert listed(run, capsys) == table


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rename", "animals/9=x"], "There is no subtype 'animals/9'"),
        (["--rename", "animals/1"], "--rename is 'animals/1', but must have the form 'ok/1=grey coat'"),
        (["--split", "animals/1=two"], "--split is 'animals/1=two', but must have the form 'ok/2=3'"),
        (["--split", "animals/1=1"], "split into 2 to 20 parts, not into 1"),
        (["--split", "animals/1=20"], "has 15 images, too few for 20 parts"),
        (["--merge", "animals/1"], "not a review action: merge.subtypes"),
        (["--move", "gone.jpg=animals/1"], "no image 'gone.jpg'"),
        (["--undo"], "There is nothing to undo."),
        (["--write", "yaml", "out"], "no format 'yaml'; choose one of csv, folders"),
    ],
)
def test_a_wrong_verb_is_a_sentence(run: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert call(run, *words) == cli.WRONG_INPUT
    assert said in capsys.readouterr().err
    assert not (run / "review.jsonl").exists()


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "gone") == cli.WRONG_INPUT
    assert "There is no run" in capsys.readouterr().err


def test_marks_reach_the_table(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--wrong-label",
        "vehicles/00030.jpg",
        "--outlier",
        "animals/00001.jpg",
        "--no-duplicate",
        "animals/00029.jpg",
    ]
    assert call(run, *words, "--write", "csv", str(tmp_path / "out")) == cli.DONE
    with (tmp_path / "out" / "subtypes.csv").open() as file:
        marks = {row["file"]: row["left_out"] for row in csv.DictReader(file) if row["left_out"]}
    assert marks == {"vehicles/00030.jpg": "wrong_label", "animals/00001.jpg": "outlier"}
