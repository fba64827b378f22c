"""Whole runs, small ones: resuming, going on from another run, tables, and what is refused."""

import csv
import re
from pathlib import Path

import pytest
import torch

from clustnet.cli import main
from clustnet.errors import UserError
from tests.training.grow.made import recipe_of, write_folder
from training.grow.growing import grow, kept
from training.grow.hierarchy import node_of
from training.grow.learning import Learner
from training.grow.network import network_of
from training.grow.reports import accuracies
from training.grow.run import GrowRun
from training.grow.splits import read_splits

FILES = {
    "recipe.yaml",
    "splits.csv",
    "curves.csv",
    "matrix.csv",
    "summary.csv",
    "overall.csv",
    "matrix.png",
    "curves.png",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("grow") / "photos")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_run_leaves_tables_and_pictures(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_of(folder, baselines=True)
    grow(recipe, tmp_path / "run")
    assert {file.name for file in (tmp_path / "run").iterdir()} >= FILES
    matrix = rows_of(tmp_path / "run" / "matrix.csv")
    assert [(row["step"], row["node"]) for row in matrix] == [
        *(("1", "all"), ("2", "all"), ("2", "animal")),
        *(("3", "all"), ("3", "animal"), ("3", "animal/canine")),
    ]
    summary = rows_of(tmp_path / "run" / "summary.csv")
    assert [float(row["forgotten"]) for row in summary] == [0, 0, 0]
    assert all(int(row["parameters_added"]) > 0 and float(row["milliseconds_added"]) > 0 for row in summary)
    assert summary[0]["scratch_accuracy"] == ""
    assert all(row["joint_accuracy"] for row in summary)
    overall = rows_of(tmp_path / "run" / "overall.csv")[0]
    expected = [float(row["accuracy_learnt"]) - float(row["scratch_accuracy"]) for row in summary[1:]]
    assert float(overall["forward_transfer"]) == pytest.approx(sum(expected) / 2, abs=1e-5)
    assert "forgetting 0.000" in capsys.readouterr().out


def test_matrix_is_that_of_the_checkpoints(folder: Path, tmp_path: Path) -> None:
    run = GrowRun(tmp_path / "run")
    grow(recipe_of(folder, mode="full"), run.path)
    items, images = kept(run)
    split = read_splits(run.path / "splits.csv")
    for row in rows_of(run.path / "matrix.csv"):
        state = run.load(f"step_{int(row['step']):03}.pt")
        assert state is not None
        network, node = network_of(state), node_of(row["node"])
        children, right = images.hierarchy.children(node), []
        for place, item in enumerate(items):
            if split[item.name] == "test" and item.labels[: len(node)] == node:
                with torch.no_grad():
                    found = network(images.images[place : place + 1], node).argmax().item()
                right.append(children[found] == item.labels[len(node)])
        assert len(right) == int(row["images"])
        assert sum(right) / len(right) == pytest.approx(float(row["accuracy"]), abs=1e-6)


def test_stopped_run_goes_on_alike(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(folder, mode="lwf")
    grow(recipe, tmp_path / "whole")
    epochs = 0
    learn = Learner.run

    def stopped(self: Learner, start: int = 0) -> object:
        nonlocal epochs
        for result in learn(self, start):
            yield result
            epochs += 1
            if epochs == 4:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "run", stopped)
        with pytest.raises(KeyboardInterrupt, match="1 of 3 nodes are safe"):
            grow(recipe, tmp_path / "part")
    with pytest.raises(UserError, match="already holds a run; add --resume"):
        grow(recipe, tmp_path / "part")
    with pytest.raises(UserError, match="started with another recipe"):
        grow(recipe_of(folder, mode="full"), tmp_path / "part", resume=True)
    grow(recipe, tmp_path / "part", resume=True)
    one, other = (GrowRun(tmp_path / name).network().state_dict() for name in ("whole", "part"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert rows_of(tmp_path / "whole" / "matrix.csv") == rows_of(tmp_path / "part" / "matrix.csv")
    assert rows_of(tmp_path / "whole" / "curves.csv") == rows_of(tmp_path / "part" / "curves.csv")


def test_run_goes_on_from_another(folder: Path, tmp_path: Path) -> None:
    grow(recipe_of(folder), tmp_path / "whole")
    grow(recipe_of(folder, steps=({"node": "all"},)), tmp_path / "first")
    grow(recipe_of(folder, begin=tmp_path / "first", seed=0), tmp_path / "rest")
    whole, rest = (GrowRun(tmp_path / name).finished() for name in ("whole", "rest"))
    assert rest["matrix"] == whole["matrix"]
    assert (tmp_path / "rest" / "splits.csv").read_bytes() == (tmp_path / "first" / "splits.csv").read_bytes()
    nodes = ["all", "animal", "animal/canine"]
    assert accuracies(rest["matrix"], nodes).shape == (3, 3)
    with pytest.raises(UserError, match="reads images of another size"):
        grow(recipe_of(folder, begin=tmp_path / "first", network={"width": 8}), tmp_path / "wide")


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        (["rock"], "'rock' is not a node with children; the nodes are all, animal, animal/canine."),
        (["animal"], "'animal' comes before 'all', above it; learn that one first."),
        (["all", "all"], "'all' is already learnt; name each node once."),
    ],
)
def test_steps_that_cannot_be_learnt(folder: Path, tmp_path: Path, steps: list[str], sentence: str) -> None:
    recipe = recipe_of(folder, steps=tuple({"node": node} for node in steps))
    with pytest.raises(UserError, match=re.escape(sentence)):
        grow(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 5)
    (folder / "rock" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"0.png is not a PNG, JPEG, WebP or BMP image; convert or remove it."):
        grow(recipe_of(folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_command_learns_and_says_how_to_serve(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text("data: {path: photos, size: [8, 8]}\nnetwork: {width: 2}\noptimisation: {epochs: 1}\n")
    out = tmp_path / "run"
    words = ["grow", str(recipe), "--data", str(folder), "--mode", "full", "--out", str(out)]
    assert main([*words, "--optimisation.batch_size", "8"]) == 0
    assert f"clustnet export {out} --out models/run" in capsys.readouterr().out
    assert GrowRun(out).recipe().mode == "full"
    assert main([*words, "--optimisation.batches", "8"]) == 2
    assert "grow has no key 'optimisation.batches'" in capsys.readouterr().err


def test_encoder_takes_the_place_of_the_stem(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(folder, data={"path": folder}, network={"encoder": "lite0", "width": 8})
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"size": (32, 32)})})
    grow(recipe, tmp_path / "run")
    spec = GrowRun(tmp_path / "run").network().spec
    assert (spec.features, spec.encoder, spec.image_shape) == (1280, "lite0", None)
    assert spec.sha256
