import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from clustnet.errors import UserError
from tests.training.deep import deep_recipe
from tests.training.tiny import same_state, tiny_recipe
from training.runs.checkpoint import has_optimizers, load_state, save_state, without_optimizers
from training.runs.keeping import best_epoch, chosen_epoch, clean, kept_epochs, waste
from training.runs.loop import train
from training.runs.restarts import train_restarts
from training.runs.run_folder import RunFolder
from training.runs.stages import train_stage


def row(epoch: int, score: float, stage: str = "train") -> dict[str, Any]:
    return {"epoch": epoch, "stage": stage, "label_free/score": score}


def files(run: Path) -> dict[str, bytes]:
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six epochs that keeps every second one's checkpoint; do not change it."""
    folder = tmp_path_factory.mktemp("keeping") / "whole"
    train(tiny_recipe({"optimisation.epochs": 6, "keep": 2}), folder)
    return folder


@pytest.fixture
def uncleaned(whole: Path, tmp_path: Path) -> Path:
    """The same, as a version wrote it that kept everything; of the last epoch's weights."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for epoch in range(1, 6):
        shutil.copyfile(run / "checkpoints" / "epoch_006.pt", run / "checkpoints" / f"epoch_{epoch:03}.pt")
    return run


def test_best_epoch_is_of_highest_score() -> None:
    assert best_epoch([]) is None
    assert best_epoch([row(1, -2), row(2, 3), row(3, 3), row(4, 1)]) == 2
    assert best_epoch([row(1, 9, "pretrain"), row(2, 1), row(3, 2)]) == 3
    assert best_epoch([row(1, 1, "pretrain"), row(2, 2, "pretrain")]) == 2


def test_epoch_is_chosen_by_its_name(whole: Path) -> None:
    folder = RunFolder(whole)
    best = best_epoch(folder.read_scores(6))
    assert [chosen_epoch(folder, which) for which in ("last", "best", "2")] == [6, best, 2]
    kept = ", ".join(map(str, folder.epochs()))
    with pytest.raises(UserError, match=f"has no checkpoint of epoch 1; available epochs: {kept}"):
        chosen_epoch(folder, "1")


def test_last_best_and_nth_are_kept() -> None:
    rows = [row(epoch, -abs(epoch - 7)) for epoch in range(1, 11)]
    assert kept_epochs(tiny_recipe(), rows, 10) == {7, 10}
    assert kept_epochs(tiny_recipe({"keep": 3}), rows, 10) == {3, 6, 7, 9, 10}
    assert kept_epochs(tiny_recipe({"keep": 50}), rows, 10) == {7, 10}


def test_end_of_pretraining_is_kept(tmp_path: Path) -> None:
    train(deep_recipe(optimisation={"epochs": 3}), tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    best = best_epoch(folder.read_scores(5))
    assert set(folder.epochs()) == {2, 5, best}


def test_optimizers_are_in_last_checkpoint_alone(whole: Path) -> None:
    folder = RunFolder(whole)
    epochs = folder.epochs()
    assert {2, 4, 6} <= set(epochs) <= {2, 4, 6, best_epoch(folder.read_scores(6))}
    assert [has_optimizers(folder.load_checkpoint(epoch)) for epoch in epochs] == [epoch == 6 for epoch in epochs]
    sizes = {epoch: folder.checkpoint(epoch).stat().st_size for epoch in epochs}
    assert sizes[2] < sizes[6] / 2


def test_keys_of_keeping_may_change_on_resume(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    rows = train(tiny_recipe({"optimisation.epochs": 6, "keep": 0, "vis": 3}), tmp_path / "run", resume=True)
    assert rows == RunFolder(whole).read_scores(6)


def test_run_without_last_checkpoint_is_refused(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "epoch_006.pt").unlink()
    with pytest.raises(UserError, match=r"cannot go on after epoch [45]: only a run's last checkpoint has the optim"):
        train(tiny_recipe({"optimisation.epochs": 6}), tmp_path / "run", resume=True)


def test_losses_begin_at_pretraining_of_finished_run(tmp_path: Path) -> None:
    train(deep_recipe(), tmp_path / "whole")
    assert not has_optimizers(RunFolder(tmp_path / "whole").load_checkpoint(2))
    other = deep_recipe(clustering={"loss": "kmeans", "weight": 0.5})
    train_stage(other, tmp_path / "adopted", "cluster", tmp_path / "whole")
    train(other, tmp_path / "plain")
    one, two = (RunFolder(tmp_path / name).load_checkpoint(4)["model"] for name in ("adopted", "plain"))
    assert same_state(one, two)


def test_waste_is_what_training_would_not_have_kept(uncleaned: Path, whole: Path) -> None:
    found = list(waste(uncleaned))
    before = sum(map(len, files(uncleaned).values()))
    clean(found)
    assert before - sum(map(len, files(uncleaned).values())) == sum(one.size for one in found)
    assert set(RunFolder(uncleaned).epochs()) == set(RunFolder(whole).epochs())
    left = {path.name for path in (uncleaned / "images").iterdir()}
    assert left == {f"epoch_{e:03}_{split}.csv" for e in RunFolder(whole).epochs() for split in ("train", "test")}
    assert list(waste(uncleaned)) == []


def test_cleaned_checkpoints_keep_their_networks(uncleaned: Path) -> None:
    before = {path.name: load_state(path) for path in (uncleaned / "checkpoints").iterdir()}
    clean(list(waste(uncleaned)))
    last, *others = sorted((uncleaned / "checkpoints").iterdir(), reverse=True)
    assert same_state(load_state(last), before[last.name])
    for path in others:
        assert same_state(load_state(path), without_optimizers(before[path.name]))


def test_stopped_run_goes_on_after_cleaning(whole: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe({"optimisation.epochs": 6, "keep": 2})
    train(recipe, tmp_path / "run", last=3)
    clean(list(waste(tmp_path / "run")))
    train(recipe, tmp_path / "run", resume=True)
    one, other = (RunFolder(path).load_checkpoint(6) for path in (whole, tmp_path / "run"))
    assert same_state(one, other)


def test_left_overs_of_a_kill_are_removed(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    run, half = tmp_path / "run", "ab3_x9zq.unfinished"
    old, new, other = run / f"checkpoints/.epoch_007.pt.{half}", run / f".scores.csv.{half}", run / ".keep"
    for path in (old, new, other):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7_200,) * 2)
    clean([one for one in waste(tmp_path / "run") if one.what == "files that were never finished"])
    assert [path.exists() for path in (old, new, other)] == [False, True, True]


def test_restarts_are_cleaned_each(tmp_path: Path) -> None:
    train_restarts(tiny_recipe({"restarts": 2, "optimisation.epochs": 3}), tmp_path / "run")
    for number in range(2):
        folder = RunFolder(tmp_path / "run" / f"restart_{number}")
        save_state(folder.checkpoint(1), folder.load_checkpoint(3))
        save_state(folder.checkpoint(2), folder.load_checkpoint(3))
    clean(list(waste(tmp_path / "run")))
    for number in range(2):
        folder = RunFolder(tmp_path / "run" / f"restart_{number}")
        assert set(folder.epochs()) == {3, best_epoch(folder.read_scores(3))}


def test_folder_without_run_is_not_cleaned(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run: it holds no recipe"):
        list(waste(tmp_path))
