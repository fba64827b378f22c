import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets import CLASSES, LabelledImages
from clustnet.errors import UserError
from clustnet.scores.scores import routing_scores
from tests.image_folder import COLOURS, write_coarse_folder
from tests.training.deep import deep_recipe
from tests.training.tiny import same_state, tiny_recipe
from training.data.data import load_split
from training.models.inference import route
from training.recipe.recipe import BaseRecipe
from training.runs import loop
from training.runs.label_free import LabelFree, label_free
from training.runs.loop import train
from training.runs.run_folder import RunFolder


def mnist_test() -> LabelledImages:
    found = load_split(tiny_recipe().data, "test")
    assert found is not None
    return found


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "train_seconds"} for row in rows]


def test_run_holds_files_that_are_documented(finished_run: Path) -> None:
    found = {path.relative_to(finished_run).as_posix() for path in finished_run.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith("tensorboard/events.")} == {
        "recipe.yaml",
        "scores.csv",
        "checkpoints/epoch_002.pt",
        *(f"images/epoch_00{epoch}_{split}.csv" for epoch in (1, 2) for split in ("train", "test")),
    }


def test_scores_are_those_of_checkpointed_model(finished_run: Path) -> None:
    folder, data = RunFolder(finished_run), mnist_test()
    routed = route(folder.load_network(), data.images, hard=False)
    plain = routing_scores(routed.routing, routed.coarse_probability, data.coarse, data.fine, data.coarse_labels)
    row = folder.read_scores(2)[-1]
    assert (row["epoch"], row["split"], row["images"], row["stage"]) == (2, "test", 100, "train")
    assert "class_accuracy" in row
    assert "class_accuracy" not in folder.read_scores(2)[-2]
    assert {key: row[key] for key in plain} == pytest.approx(plain)


def test_there_is_row_for_each_epoch_and_split(finished_run: Path) -> None:
    rows = table(finished_run / "scores.csv")
    assert [(row["epoch"], row["split"]) for row in rows] == [
        (epoch, split) for epoch in ("1", "2") for split in ("train", "test")
    ]
    assert float(rows[2]["train_loss"]) < float(rows[0]["train_loss"])


def test_each_images_row_agrees_with_scores(finished_run: Path) -> None:
    rows = table(finished_run / "images" / "epoch_002_test.csv")
    data = mnist_test()
    assert "file" not in rows[0]
    assert [int(row["class"]) for row in rows] == data.fine.tolist()
    assert [int(row["coarse"]) for row in rows] == (data.fine >= 5).astype(int).tolist()
    logarithms = np.array([[float(row[f"log_probability_{label}"]) for label in (0, 1)] for row in rows])
    np.testing.assert_allclose(np.exp(logarithms).sum(axis=1), 1, atol=1e-5)
    routing = np.array([[float(row[f"routing_{e}"]) for e in range(3)] for row in rows])
    plain = routing_scores(routing, np.exp(logarithms), data.coarse, data.fine, data.coarse_labels)
    score = RunFolder(finished_run).read_scores(2)[-1]
    assert {key: score[key] for key in plain} == pytest.approx(plain, abs=1e-4)


def test_tensorboard_shows_what_table_holds(finished_run: Path) -> None:
    board = EventAccumulator(str(finished_run / "tensorboard")).Reload()
    rows = RunFolder(finished_run).read_scores(2)
    for split in ("train", "test"):
        for score in ("train_loss", "coarse_accuracy", "nmi", "expert_load/0"):
            shown = [(event.step, event.value) for event in board.Scalars(f"{split}/{score}")]
            held = [(row["epoch"], pytest.approx(row[score])) for row in rows if row["split"] == split]
            assert shown == held


@pytest.mark.parametrize("keys", [{}, {"routing": "hard", "pretraining.epochs": 1}])
def test_resumed_run_equals_uninterrupted_one(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe({"optimisation.epochs": 3, **keys})
    train(recipe, tmp_path / "whole")
    interrupt_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt, match=r"^1 of . epochs are safe in .*parts$"):
        train(recipe, tmp_path / "parts")
    monkeypatch.undo()
    train(recipe, tmp_path / "parts", resume=True)
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    last = whole.last_epoch()
    assert same_state(whole.load_checkpoint(last), parts.load_checkpoint(last))
    assert without_time(whole.read_scores(last)) == without_time(parts.read_scores(last))
    for path in (tmp_path / "whole" / "images").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / "images" / path.name).read_bytes()


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Press Ctrl-C in the scoring of the epoch after ``epochs``, when its first table is written."""
    write_images = RunFolder.write_images

    def write_or_stop(self: RunFolder, epoch: int, *rest: Any) -> None:
        if epoch > epochs:
            raise KeyboardInterrupt
        write_images(self, epoch, *rest)

    monkeypatch.setattr(RunFolder, "write_images", write_or_stop)


def test_scores_beyond_last_checkpoint_are_trained_again(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = RunFolder.save_checkpoint

    def save_first(self: RunFolder, epoch: int, state: dict[str, Any]) -> None:
        if epoch == 2:
            raise KeyboardInterrupt
        save(self, epoch, state)

    monkeypatch.setattr(RunFolder, "save_checkpoint", save_first)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_recipe(), tmp_path / "run")
    monkeypatch.undo()
    assert len(table(tmp_path / "run" / "scores.csv")) == 4
    rows = train(tiny_recipe(), tmp_path / "run", resume=True)
    assert without_time(rows) == without_time(RunFolder(finished_run).read_scores(2))


def test_finished_run_is_not_trained_again(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.*")}
    rows = train(tiny_recipe(), tmp_path / "run", resume=True)
    assert rows == RunFolder(finished_run).read_scores(2)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.*")} == before


def test_label_free_figures_are_measured_once_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(*arguments: Any) -> LabelFree:
        measured.append(label_free(*arguments))
        return measured[-1]

    monkeypatch.setattr(loop, "label_free", measure)
    train(tiny_recipe(), tmp_path / "run")
    assert len(measured) == 2
    said = capsys.readouterr().out.splitlines()[2:]
    train(tiny_recipe(), tmp_path / "run", resume=True)
    assert len(measured) == 3
    first, *rest = capsys.readouterr().out.splitlines()
    assert (first, rest) == ("all 2 epochs were finished before; nothing is trained", said)


@pytest.fixture(scope="module")
def colour_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of plain folders of three colours, without a fine class or a test split; do not change it."""
    folder = tmp_path_factory.mktemp("colours")
    keys = {"data.name": "folder", "data.path": str(write_coarse_folder(folder / "data")), "data.size": [16, 16]}
    keys |= {"data.train_images": None, "data.test_images": None, "partition.epochs": 1, "partition.images": 20}
    keys |= {"partition.clusters": {"green": 1, "red": 2, "blue": 2}, "loss.mutual_information": 0.3}
    keys |= {"augmentation.flip": 0.5, "augmentation.hue": 0.05, "model.experts": 2, "optimisation.epochs": 3}
    train(tiny_recipe(keys | {"reference.per_class": 10, "optimisation.learning_rate": 0.01}), folder / "run")
    return folder / "run"


def test_three_colours_train_without_fine_classes(colour_run: Path) -> None:
    rows = RunFolder(colour_run).read_scores(4)
    assert [row["split"] for row in rows] == ["train"] * 4
    assert rows[-1]["coarse_accuracy"] > 0.9
    wanted = {"epoch", "stage", "split", "images", "train_loss", "train_seconds", "coarse_accuracy", "routing_entropy"}
    figures = {f"label_free/{name}" for name in ("score", "mutual_information", "coarse_accuracy")}
    assert set(rows[-1]) == wanted | {"cells_in_use", "expert_load/0", "expert_load/1"} | figures
    assert RunFolder(colour_run).load_network().label_count == 3
    assert RunFolder(colour_run).spec().coarse_labels == tuple(sorted(COLOURS))


def test_files_come_first_and_unknown_classes_are_empty(colour_run: Path) -> None:
    rows = table(colour_run / "images" / "epoch_004_train.csv")
    assert list(rows[0])[:6] == ["file", "class", "coarse", *(f"log_probability_{k}" for k in range(3))]
    labels = sorted(COLOURS)
    assert [row["file"].split("/")[0] for row in rows] == [labels[int(row["coarse"])] for row in rows]
    assert {row["class"] for row in rows} == {""}
    total = sum(np.exp([float(row[f"log_probability_{k}"]) for row in rows]) for k in range(3))
    np.testing.assert_allclose(total, 1, atol=1e-4)


def test_end_names_what_is_left_out(colour_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(RunFolder(colour_run).recipe(), colour_run, resume=True)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "There is no test split, so all scores are of training images.",
        "Group and cell accuracy, NMI and ARI are left out, because the images of train have no known fine class.",
    ]


def test_one_coarse_label_trains_by_mutual_information(tmp_path: Path) -> None:
    keys = {"data.coarse": None, "loss.mutual_information": 1.0, "augmentation.rotation": 5, "partition.epochs": 1}
    rows = train(tiny_recipe(keys | {"partition.images": 60, "pretraining.epochs": 1}), tmp_path / "run")
    assert not {"coarse_accuracy", "label_free/coarse_accuracy"} & rows[-1].keys()
    assert {"cell_accuracy", "nmi", "ari"} <= rows[-1].keys()
    images = table(tmp_path / "run" / "images" / "epoch_004_test.csv")
    assert {row["coarse"] for row in images} == {"0"}
    assert [float(row["log_probability_0"]) for row in images] == pytest.approx([0] * 100, abs=1e-6)
    assert "log_probability_1" not in images[0]


def test_grouped_classes_are_scored_within_their_labels(tmp_path: Path) -> None:
    groups = {"low": [0, 1, 2], "middle": [3, 4, 5], "high": [6, 7, 8, 9]}
    rows = train(tiny_recipe({"data.coarse": groups}), tmp_path / "run")
    assert {f"group_accuracy/{label}" for label in groups} <= rows[-1].keys()
    coarse = CoarseGrouping.from_mapping(groups, CLASSES["mnist"]).coarse(mnist_test().fine)
    assert [int(row["coarse"]) for row in table(tmp_path / "run" / "images" / "epoch_002_test.csv")] == coarse.tolist()


def test_single_sub_folder_needs_something_to_learn(tmp_path: Path) -> None:
    path = write_coarse_folder(tmp_path / "data", ["red"], images=4)
    recipe = tiny_recipe({"data.name": "folder", "data.train_images": None, "data.test_images": None})
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": path})})
    with pytest.raises(UserError, match="there is only one coarse label, 'red'"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_damaged_checkpoint_stops_resume_with_sentence(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "epoch_002.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"epoch_002.pt is damaged; remove it to use the one before"):
        train(tiny_recipe(), tmp_path / "run", resume=True)


def test_interrupt_while_loading_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "load_split", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(tiny_recipe(), tmp_path / "run")
    assert caught.value.args == ()
    assert not (tmp_path / "run").exists()


def test_each_epoch_is_reported_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = train(tiny_recipe(), tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    assert [line[:17] for line in lines[:3]] == ["epoch  1/2 train ", "epoch  2/2 train ", "label-free score "]
    assert f"coarse {rows[-1]['coarse_accuracy']:.4f}" in lines[1]
    assert f"label-free score {rows[-1]['label_free/score']:.4f}" in lines[2]
    assert all("group" in line for line in lines[3:])


def test_idle_expert_causes_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = train(tiny_recipe({"loss.routing_diversity": -10, "optimisation.epochs": 3}), tmp_path / "run")
    idle = [e for e in range(3) if rows[-1][f"expert_load/{e}"] < 0.01]
    assert idle
    warnings = capsys.readouterr().err.splitlines()
    assert warnings[-len(idle) :] == [f"warning: expert {e} gets under 1 % of the images" for e in idle]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_run_learns_and_resumes(tmp_path: Path) -> None:
    recipe = tiny_recipe({"routing": "hard", "data.train_images": 2000, "optimisation.epochs": 3})
    train(recipe, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "epoch_003.pt").unlink()
    rows = train(recipe, tmp_path / "run", resume=True)
    assert rows[-1]["coarse_accuracy"] > 0.7
    assert all(
        tensor.device.type == "cpu" for tensor in RunFolder(tmp_path / "run").load_checkpoint(3)["model"].values()
    )


@pytest.mark.parametrize(
    "recipe",
    [tiny_recipe({"partition.epochs": 1}), deep_recipe(clustering={"start": "manifold"})],
    ids=lambda recipe: recipe.method,
)
def test_missing_umap_is_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: BaseRecipe
) -> None:
    def refuse() -> None:
        raise UserError("UMAP needs a folder.")

    monkeypatch.setattr(loop, "check_manifold", refuse)
    with pytest.raises(UserError, match="UMAP needs a folder"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
