"""MLflow and Weights & Biases are no dependency of the tests; where they are installed, their real stores are read."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clustnet.errors import UserError
from tests.image_folder import write_coarse_folder
from tests.training.tiny import tiny_recipe
from training.data.data import load_split
from training.recipe.recipe import Data
from training.runs.expert_sheet import COLUMNS, SIDE, expert_sheet
from training.runs.loop import train
from training.runs.run_folder import RunFolder
from training.runs.tracking import Tracking


def test_tensorboard_shows_pictures_and_histograms(finished_run: Path) -> None:
    board = EventAccumulator(str(finished_run / "tensorboard")).Reload()
    assert set(board.Tags()["images"]) == {"train/experts", "test/experts"}
    assert set(board.Tags()["histograms"]) == {"train/certainty", "test/certainty"}
    picture = board.Images("test/experts")[-1]
    assert (picture.step, picture.width, picture.height) == (2, COLUMNS * 28, 3 * 28)
    assert board.Histograms("test/certainty")[-1].histogram_value.num == 100


def test_sheet_shows_surest_images_of_each_expert() -> None:
    split = load_split(tiny_recipe().data, "train")
    routing = np.random.default_rng(0).dirichlet(np.ones(3), len(split)).astype(np.float32)
    sheet = expert_sheet(split, None, routing)
    assert sheet is not None
    assert sheet.shape == (3 * 28, COLUMNS * 28, 3)
    second = np.argsort(-routing[:, 1])[1]
    assert np.array_equal(sheet[28:56, 28:56, 0], split.images[second])


def test_sheet_of_embeddings_shows_their_files(tmp_path: Path) -> None:
    write_coarse_folder(tmp_path)
    split = load_split(Data(name="folder", path=tmp_path), "train", lambda files: np.zeros((len(files), 4), np.float32))
    routing = np.full((len(split), 2), 0.5, np.float32)
    sheet = expert_sheet(split, tmp_path, routing)
    assert sheet is not None
    assert sheet.shape[0] == 2 * SIDE
    assert sheet.std() > 0
    assert expert_sheet(split, None, routing) is None


def test_missing_tracker_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"^tracking has wandb, which is not installed; install it with: pip install"):
        train(tiny_recipe({"tracking": ["tensorboard", "wandb"]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_tracker_is_refused() -> None:
    with pytest.raises(UserError, match="tracking"):
        tiny_recipe({"tracking": ["neptune"]})


def test_trackers_may_change_when_resuming(tmp_path: Path) -> None:
    recipe = tiny_recipe({"tracking": []})
    train(recipe, tmp_path, last=1)
    assert not (tmp_path / "tensorboard").exists()
    train(tiny_recipe(), tmp_path, resume=True)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("test/nmi")] == [2]


def test_scores_that_are_no_numbers_are_left_out() -> None:
    told = []

    class Told:
        def log(self, values: dict[str, float], step: int) -> None:
            told.append((values, step))

    Tracking([Told()]).scores([{"split": "test", "epoch": 3, "stage": "train", "nmi": 0.5}], 3)  # type: ignore[list-item]
    assert told == [({"test/nmi": 0.5}, 3)]


def test_mlflow_holds_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="MLflow is no dependency, as its 15 packages would replace locked ones")
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    recipe = tiny_recipe({"tracking": ["mlflow"], "data.coarse": {"low (0)": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]}})
    train(recipe, tmp_path / "run", last=1)
    train(recipe, tmp_path / "run", resume=True)
    client = MlflowClient((tmp_path / "run" / "mlflow").as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'clustnet'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["optimisation.epochs"] == "2"
    history = client.get_metric_history(run.info.run_id, "test/group_accuracy/low _0_")
    rows = RunFolder(tmp_path / "run").read_scores(2)
    assert [(point.step, pytest.approx(point.value, abs=1e-6)) for point in history] == [
        (row["epoch"], row["group_accuracy/low (0)"]) for row in rows if row["split"] == "test"
    ]
    assert any("experts" in entry.path for entry in client.list_artifacts(run.info.run_id, "images"))


def test_wandb_keeps_the_run_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases is no dependency, as it is 100 MB")
    recipe = tiny_recipe({"tracking": ["wandb"]})
    train(recipe, tmp_path / "run", last=1)
    train(recipe, tmp_path / "run", resume=True)
    assert os.environ["WANDB_MODE"] == "offline"
    kept = [path.name.rpartition("-")[2] for path in (tmp_path / "run" / "wandb").glob("offline-run-*")]
    assert kept
    assert len(set(kept)) == 1
