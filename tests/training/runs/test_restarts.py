import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from clustnet.errors import UserError
from tests.training.tiny import same_state, tiny_recipe
from training.methods.clustnet.method import ClustNetMethod
from training.methods.method import EpochLosses
from training.recipe.recipe import BaseRecipe
from training.runs import restarts
from training.runs.loop import train
from training.runs.restarts import restart_recipe, train_restarts, train_seconds
from training.runs.run_folder import Row, RunFolder

RECIPE = tiny_recipe({"restarts": 2, "optimisation.epochs": 1})


def test_best_by_label_free_score_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = train_restarts(RECIPE, tmp_path / "run")
    with (tmp_path / "run" / "restarts.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    scores = [float(row["label_free/score"]) for row in table]
    best = scores.index(max(scores))
    assert [row["kept"] for row in table] == [str(int(number == best)) for number in (0, 1)]
    assert scores[0] != scores[1]
    assert RunFolder.kept(tmp_path / "run").path == tmp_path / "run" / f"restart_{best}"
    assert rows == RunFolder.kept(tmp_path / "run").read_scores(1)
    assert f"{scores[0]:.4f}, {scores[1]:.4f}; kept restart {best + 1}" in capsys.readouterr().out


def test_choice_reads_no_fine_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(recipe: BaseRecipe, out: Path, resume: bool) -> list[Row]:
        first = recipe.seed == RECIPE.seed
        return [{"cell_accuracy": 0.9 if first else 0.1, "label_free/score": 1.0 if first else 2.0}]

    monkeypatch.setattr(restarts, "train", pretend)
    assert train_restarts(RECIPE, tmp_path / "run") == [{"cell_accuracy": 0.1, "label_free/score": 2.0}]


def test_restart_without_score_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([math.nan, 1.0])
    monkeypatch.setattr(restarts, "train", lambda *_: [{"label_free/score": next(scores)}])
    assert train_restarts(RECIPE, tmp_path / "run") == [{"label_free/score": 1.0}]


def diverge_in(monkeypatch: pytest.MonkeyPatch, seeds: set[int], epoch: int) -> None:
    """Let the weights of the runs with these seeds overflow before an epoch."""
    plain = ClustNetMethod._epoch

    def overflow(self: ClustNetMethod, number: int, *rest: Any) -> EpochLosses:
        if self.recipe.seed in seeds and number == epoch:
            with torch.no_grad():
                self.network.head.weight.fill_(math.inf)
        return plain(self, number, *rest)

    monkeypatch.setattr(ClustNetMethod, "_epoch", overflow)


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("number", [0, 1])
def test_restart_that_diverges_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, epoch: int
) -> None:
    recipe = tiny_recipe({"restarts": 2})
    diverge_in(monkeypatch, {restart_recipe(recipe, number).seed}, epoch)
    rows = train_restarts(recipe, tmp_path / "run")
    other, shown = 1 - number, capsys.readouterr().out
    assert shown.count(f"restart {number + 1}/2 diverged and is left out\n") == 1
    assert f"kept restart {other + 1}\n" in shown
    kept = RunFolder.kept(tmp_path / "run")
    assert kept.path == tmp_path / "run" / f"restart_{other}"
    assert kept.read_scores(2) == rows
    with (tmp_path / "run" / "restarts.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["kept"] for row in table] == [str(int(restart == other)) for restart in (0, 1)]
    assert table[number]["label_free/score"] == ""
    assert train_restarts(recipe, tmp_path / "run", resume=True) == rows


@pytest.mark.parametrize("epoch", [1, 2])
def test_all_restarts_that_diverge_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    recipe = tiny_recipe({"restarts": 2})
    diverge_in(monkeypatch, {restart_recipe(recipe, number).seed for number in (0, 1)}, epoch)
    with pytest.raises(UserError, match=r"^All 2 restarts diverged; lower optimisation\.learning_rate\.$"):
        train_restarts(recipe, tmp_path / "run")
    assert (tmp_path / "run").exists() is (epoch == 2)  # the finished epochs stay


def test_restarts_without_any_score_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "train", lambda *_: [{"label_free/score": math.nan}])
    with pytest.raises(UserError, match="All 2 restarts diverged"):
        train_restarts(RECIPE, tmp_path / "run")


def test_each_restart_is_run_of_its_own(tmp_path: Path) -> None:
    train_restarts(RECIPE, tmp_path / "run")
    train(restart_recipe(RECIPE, 0), tmp_path / "plain")
    assert restart_recipe(RECIPE, 0) == RECIPE.model_copy(update={"restarts": 1})
    states = [RunFolder(path).load_checkpoint(1) for path in (tmp_path / "plain", tmp_path / "run" / "restart_0")]
    assert same_state(*states)


def test_seconds_are_those_of_all_restarts(tmp_path: Path) -> None:
    def write(folder: RunFolder, seconds: list[float], finished: int) -> None:
        rows = [
            {"epoch": e, "split": s, "train_seconds": t} for e, t in enumerate(seconds, 1) for s in ("train", "test")
        ]
        folder.write_scores(rows)
        folder.save_checkpoint(finished, {})

    write(RunFolder(tmp_path / "plain"), [2.0, 3.0], finished=2)
    assert train_seconds(tmp_path / "plain") == 5
    write(RunFolder(tmp_path / "run" / "restart_0"), [2.0, 3.0], finished=2)
    write(RunFolder(tmp_path / "run" / "restart_1"), [10.0, 20.0], finished=1)  # diverged, or stopped while it scored
    assert train_seconds(tmp_path / "run") == 15


def test_one_restart_is_plain_run(tmp_path: Path) -> None:
    train_restarts(tiny_recipe({"optimisation.epochs": 1}), tmp_path / "run")
    assert RunFolder.kept(tmp_path / "run").path == tmp_path / "run"
    assert RunFolder(tmp_path / "run").last_epoch() == 1


def test_resuming_trains_what_is_missing_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_restarts(RECIPE, tmp_path / "whole")
    train(restart_recipe(RECIPE, 0), tmp_path / "parts" / "restart_0")
    with pytest.raises(UserError, match="no run to resume"):
        train_restarts(RECIPE, tmp_path / "parts", resume=True)
    RunFolder(tmp_path / "parts").begin(RECIPE, resume=False)
    parts = train_restarts(RECIPE, tmp_path / "parts", resume=True)
    assert [row["label_free/score"] for row in parts] == [row["label_free/score"] for row in whole]
    with pytest.raises(UserError, match="already holds a run"):
        train_restarts(RECIPE, tmp_path / "parts")


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"partition.epochs": 1, "partition.images": 5},
            "has 5 training images for the initial partition, too few for ",
        ),
        ({"optimisation.optimizer": "sgd", "optimisation.learning_rate": 1e30}, "diverged"),
        ({"data.path": "absent"}, "is missing"),
    ],
)
def test_recipe_that_cannot_be_trained_leaves_nothing(
    tmp_path: Path, restarts: int, keys: dict[str, Any], sentence: str
) -> None:
    recipe = tiny_recipe({"restarts": restarts, **keys})
    # Refused for the same reason each time, never for the folder.
    for _ in range(2):
        with pytest.raises(UserError, match=sentence):
            train_restarts(recipe, tmp_path / "runs" / "run")
        assert list(tmp_path.iterdir()) == []
