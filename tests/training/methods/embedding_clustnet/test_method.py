import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clustnet.errors import UserError
from tests.encoders import write_encoder, write_partition, write_photographs
from training.data.partition_file import read_partition, training_files
from training.discover.subtypes import read_routing
from training.methods.embedding_clustnet.config import EmbeddingClustNetRecipe
from training.models.embedding_mixture import EmbeddingMixture
from training.recipe.reading import validated
from training.recipe.recipe import BaseRecipe
from training.runs.loop import train
from training.runs.restarts import train_restarts
from training.runs.run_folder import RunFolder

pytestmark = pytest.mark.heavy


def recipe_in(folder: Path, **changes: Any) -> BaseRecipe:
    """Return a recipe of photographs and a tiny encoder, which it writes."""
    photographs = folder / "photographs"
    if not photographs.exists():
        write_photographs(photographs)
        write_encoder(folder / "tiny")
        write_partition(folder / "partition.csv", photographs)
    content = {
        "method": "embedding_clustnet",
        "data": {"name": "folder", "path": str(photographs)},
        "model": {"encoder": str(folder / "tiny"), "views": 2, "experts": 2, "components": 8, "hidden": 16},
        "partition": {"file": str(folder / "partition.csv"), "epochs": 2},
        "optimisation": {"epochs": 2, "epoch_steps": 100, "batch_size": 32, "learning_rate": 0.01},
        "vis": 0,
    }
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return validated(content, "test")


@pytest.mark.parametrize("routing", ["soft", "hard"])
@pytest.mark.parametrize("expert", ["linear", "projection"])
def test_the_routing_carries_the_subtypes(tmp_path: Path, routing: str, expert: str) -> None:
    rows = train(recipe_in(tmp_path, routing=routing, model={"expert": expert}), tmp_path / "run")
    assert rows[-1]["coarse_accuracy"] == 1
    with (tmp_path / "run/images/epoch_004_test.csv").open(newline="") as file:
        found = [(row["file"].split("/")[1], row["file"][-5], float(row["routing_0"])) for row in csv.DictReader(file)]
    for label in ("cold", "warm"):
        routes = {(int(digit) % 2, round(share)) for name, digit, share in found if name == label}
        assert len(routes) == 2


def test_the_training_keeps_the_partition(tmp_path: Path) -> None:
    # Four experts for two clusters a label: the mutual information alone would divide each cluster.
    changes = {"model": {"experts": 4}, "loss": {"mutual_information": 1.0}, "optimisation": {"epochs": 6}}
    train(recipe_in(tmp_path, **changes), tmp_path / "run")
    partition = read_partition(tmp_path / "partition.csv", training_files(tmp_path / "photographs"))
    coarse, routing = read_routing(tmp_path / "run/images/epoch_008_train.csv")[1:]
    found = zip(coarse.tolist(), partition.tolist(), routing.argmax(axis=1).tolist(), strict=True)
    assert len(set(found)) == 4


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    recipe = recipe_in(tmp_path, loss={"mutual_information": 0.3}, routing="hard")
    random = torch.random.get_rng_state()
    train(recipe, whole)
    assert torch.equal(torch.random.get_rng_state(), random)
    train(recipe, parted, last=1)
    train(recipe, parted, resume=True)
    expected, found = (RunFolder(path).load_network().state_dict() for path in (whole, parted))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_one_coarse_label_has_silent_experts(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, data={"coarse": None}, loss={"mutual_information": 0.3})
    train(recipe, tmp_path / "run")
    network = RunFolder(tmp_path / "run").load_network()
    assert isinstance(network, EmbeddingMixture)
    assert not list(network.experts.parameters())


def test_restarts_share_the_embeddings(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_restarts(recipe_in(tmp_path, restarts=2), run)
    assert (run / "embeddings").is_dir()
    assert not (run / "restart_0/embeddings").exists()


def test_the_spec_names_the_encoder(tmp_path: Path) -> None:
    train(recipe_in(tmp_path), tmp_path / "run")
    state = RunFolder(tmp_path / "run").load_checkpoint(4)
    assert len(state["network"]["sha256"]) == 64
    assert np.isfinite(state["model"]["normalise.components"].numpy()).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"name": "mnist", "path": None}}, "embeds image files; set data.name to folder"),
        ({"data": {"size": [32, 32]}}, "data.size is set, but has no effect with an encoder"),
        ({"augmentation": {"flip": 0.5}}, "augmentation.flip is set, but has no effect with an encoder"),
        ({"model": {"expert_inputs": 4}}, "model.expert_inputs is set, but has no effect"),
        ({"partition": {"clusters": {"warm": 3}}}, "only 2 experts"),
        ({"partition": {"clusters": {"hot": 2}}}, "the coarse labels are cold, warm"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        recipe_in(tmp_path, **changes)


def test_too_few_experts_are_refused(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    table = tmp_path / "partition.csv"
    table.write_text(table.read_text().replace(",1\n", ",2\n"))
    with pytest.raises(UserError, match=r"3 clusters of one coarse label, but model.experts is 2"):
        train(recipe, tmp_path / "run")


def test_an_unknown_encoder_is_refused(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, model={"encoder": "lite9"})
    assert isinstance(recipe, EmbeddingClustNetRecipe)
    with pytest.raises(UserError, match="There is no encoder 'lite9'"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
