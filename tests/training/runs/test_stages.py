from pathlib import Path

import pytest

from clustnet.errors import UserError
from tests.training.deep import deep_recipe
from tests.training.tiny import same_state, tiny_recipe
from training.runs.loop import train
from training.runs.run_folder import RunFolder
from training.runs.stages import train_stage


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was pre-trained alone; do not change it."""
    folder = tmp_path_factory.mktemp("stages") / "pretrained"
    train_stage(deep_recipe(), folder, "pretrain")
    return folder


def test_pretrain_stops_before_clustering(pretrained: Path) -> None:
    folder = RunFolder(pretrained)
    assert folder.last_epoch() == 2
    assert {row["stage"] for row in folder.read_scores(2)} == {"pretrain"}


@pytest.mark.parametrize("loss", ["kl", "kmeans"])
def test_both_losses_go_on_from_one_pretraining(loss: str, pretrained: Path, tmp_path: Path) -> None:
    recipe = deep_recipe(clustering={"loss": loss, "weight": 0.5})
    train_stage(recipe, tmp_path / "adopted", "cluster", pretrained)
    train(recipe, tmp_path / "whole")
    one, other = (RunFolder(tmp_path / name).load_checkpoint(4) for name in ("adopted", "whole"))
    assert same_state(one, other)
    scores = [RunFolder(tmp_path / name).read_scores(4) for name in ("adopted", "whole")]
    accuracies = [[row["cell_accuracy"] for row in rows] for rows in scores]
    assert accuracies[0] == accuracies[1]


def test_stages_of_one_folder_follow_each_other(tmp_path: Path) -> None:
    recipe = deep_recipe()
    with pytest.raises(UserError, match="has 0 of 2 epochs of pre-training; run --stage pretrain first"):
        train_stage(recipe, tmp_path / "run", "cluster")
    train_stage(recipe, tmp_path / "run", "pretrain")
    train_stage(recipe, tmp_path / "run", "cluster")
    assert RunFolder(tmp_path / "run").last_epoch() == 4


def test_what_cannot_be_staged_is_refused(pretrained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(
        UserError, match=r"was pre-trained by another recipe: pretraining.learning_rate was 0.01 and is"
    ):
        train_stage(deep_recipe(pretraining={"learning_rate": 0.02}), out, "cluster", pretrained)
    with pytest.raises(UserError, match=r"is not a run"):
        train_stage(deep_recipe(), out, "cluster", tmp_path)
    with pytest.raises(UserError, match="--pretrained replaces the pre-training"):
        train_stage(deep_recipe(), out, "pretrain", pretrained)
    with pytest.raises(UserError, match="--stage is for the method deep_clustering, but the recipe's is clustnet"):
        train_stage(tiny_recipe(), out, "pretrain")
    with pytest.raises(UserError, match="--stage is for a single run, but restarts is 2"):
        train_stage(deep_recipe(restarts=2), out, "pretrain")
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / "restarts.csv").touch()
    with pytest.raises(UserError, match=r"several holds several runs; name one of them, as in .*restart_0\.$"):
        train_stage(deep_recipe(), out, "cluster", tmp_path / "several")
    with pytest.raises(UserError, match=r"pretraining.epochs is 0"):
        train_stage(deep_recipe(pretraining={"epochs": 0, "learning_rate": 0.001}), out, "cluster")
    assert not out.exists()
