"""A run that begins with the review of another one."""

from pathlib import Path

import numpy as np
import pytest

from clustnet.cli import DONE, WRONG_INPUT, main
from clustnet.corrections.actions import parse
from clustnet.corrections.session import Session
from tests.image_folder import write_coarse_folder
from training.discover.collection import Collection
from training.discover.found import found_by_discover
from training.discover.reading import Image, load_problems
from training.discover.resuming import ReviewedImage, relabelled, reviewed_assignment
from training.discover.subtypes import Assignment, read_subtypes

RIGHT = "green/right_005.jpg"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with two subtypes of each of two coarse labels, too few images for UMAP."""
    folder = tmp_path_factory.mktemp("resuming")
    words = ["--encoder", "none", "--subtypes", "2", "--epochs", "2", "--out", str(folder / "before")]
    photos = write_coarse_folder(folder / "photos", ("blue", "green"), 12)
    assert main(["discover", str(photos), *words]) == DONE
    return folder / "before"


def review(run: Path, *actions: dict[str, object]) -> Session:
    session = Session(run, found_by_discover(run))
    session.do([parse(action) for action in actions])
    return session


def resume(before: Path, out: Path) -> int:
    return main(["discover", "--resume", str(before), "--out", str(out)])


def test_without_corrections_there_is_nothing_to_learn(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = before.parent / "early"
    assert resume(before, out) == WRONG_INPUT
    assert "Nothing was corrected" in capsys.readouterr().err
    review(before, {"verb": "rename", "subtype": "blue/1", "name": "sea"})
    assert resume(before, out) == WRONG_INPUT
    assert "subtypes were only named" in capsys.readouterr().err
    review(before, {"verb": "undo"})


def test_corrections_are_learnt(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [row.file for row in read_subtypes(before / "subtypes.csv")]
    blue, green = (next(file for file in files if file.startswith(label)) for label in ("blue", "green"))
    session = review(
        before,
        {"verb": "rename", "subtype": "blue/2", "name": "sky"},
        {"verb": "merge", "subtypes": ["green/1", "green/2"]},
        {"verb": "move", "files": [green], "to": "blue/1"},
        {"verb": "mark", "files": [blue], "mark": "wrong_label"},
        {"verb": "mark", "files": [RIGHT], "mark": "right_label"},
    )
    out = before.parent / "after"
    assert resume(before, out) == DONE
    rows = {row.file: row for row in read_subtypes(out / "subtypes.csv")}
    assert set(files) - set(rows) == {blue}
    assert [problem.problem for problem in load_problems(out)] == ["not of this coarse label"]
    assert (rows[green].coarse, rows[green].subtype) == ("blue", "blue/1")
    assert {row.subtype for row in rows.values()} == set(session.review.subtypes)
    assert {row.name for row in rows.values() if row.subtype == "blue/2"} == {"sky"}
    assert Session(out, found_by_discover(out)).review.marks == {RIGHT: {"label": "right_label"}}
    # A second call has nothing to do, and the earlier run is as it was.
    capsys.readouterr()
    assert resume(before, out) == DONE
    assert capsys.readouterr().out.count("done before") == 6
    assert len(read_subtypes(before / "subtypes.csv")) == len(files)
    bundle = before.parent / "bundle"
    assert main(["export", str(out), "--out", str(bundle)]) == DONE
    assert "subtypes with names: sky" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume", "{before}", "--out", "{before}"], "is never overwritten; name a new folder with --out"),
        (["photos", "--resume", "{before}", "--out", "x"], "leave out photos"),
        (["--resume", "gone", "--out", "x"], "not a finished run of 'clustnet discover'"),
    ],
)
def test_wrong_calls_are_sentences(
    before: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["discover", *[word.format(before=before) for word in words]]) == WRONG_INPUT
    assert said in capsys.readouterr().err


def listed(file: str, coarse: str) -> Image:
    return Image(file, f"train/{file}", "train", coarse, "", 8, 8, 1)


def test_a_relabelled_image_has_its_own_path() -> None:
    image = listed("ok/deep/1.png", "ok")
    assert relabelled(image, "ok", 7) == image
    assert relabelled(image, "defect", 7).image == "train/defect/deep/7_1.png"


def test_cells_stand_for_reviewed_subtypes(tmp_path: Path) -> None:
    ids = ["ok/1"] * 4 + ["ok/3"] * 4 + ["ok/4"] * 2
    reviewed = [ReviewedImage(place, str(place), name, "", 0, "") for place, name in enumerate(ids)]
    reviewed[7] = reviewed[7]._replace(moved=1)
    images = [listed(str(place), "ok") for place in range(10)]
    found = Collection(tmp_path, images, ["ok"], np.zeros(10, np.int64), np.ones(10, bool))
    # The second cell is the first subtype; the last image of "ok/3" was moved there; nothing stands for "ok/4".
    made = Assignment(("ok/1", "ok/2"), ("ok", "ok"), np.array([1, 1, 1, 0, 0, 0, 0, 1, 1, 0]), np.ones(10, np.float32))
    after = reviewed_assignment(made, found, reviewed)
    assert after.names == ("ok/1", "ok/3", "ok/4")
    assert [after.names[place] for place in after.subtype] == [
        *["ok/1"] * 3,
        *["ok/3"] * 5,
        *["ok/4"] * 2,
    ]
