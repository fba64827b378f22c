import re
from typing import Any

import pytest

from clustnet.errors import UserError
from tests.training.tiny import tiny_recipe

CIFAR10 = {"animals": [2, 3, 4, 5, 6, 7], "vehicles": [0, 1, 8, 9]}


def test_each_label_has_a_cluster_per_expert() -> None:
    assert tiny_recipe({"model.experts": 7}).clusters(("a", "b", "c"), (9, 500, 9)) == (7, 7, 7)


def test_few_images_make_fewer_clusters() -> None:
    keys = {"model.experts": 7, "partition.epochs": 1, "partition.images": 150}
    assert tiny_recipe(keys).clusters(("a", "b", "c"), (9, 60, 5000)) == (1, 2, 6)
    assert tiny_recipe(keys | {"partition.clusters": {"0-4": 3}}).clusters(("0-4", "5-9"), (60, 60)) == (3, 7)


def test_clusters_are_counted_by_label() -> None:
    keys = {"data.name": "cifar10", "data.coarse": CIFAR10, "model.experts": 6, "partition.epochs": 1}
    recipe = tiny_recipe(keys | {"partition.clusters": {"vehicles": 4}})
    assert recipe.clusters(tuple(CIFAR10), (60, 60)) == (6, 4)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"partition.clusters": {"0-4": 9}}, "partition.clusters gives '0-4' 9 clusters, but there are only 3 experts"),
        ({"partition.clusters": {"low": 2}}, "partition.clusters has 'low', but the coarse labels are 0-4, 5-9; use "),
        ({"partition.clusters": [2, 3]}, "partition.clusters is [2, 3], but must be a mapping, as in {ok: 3, defect"),
    ],
)
def test_wrong_clusters_are_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        tiny_recipe(keys | {"partition.epochs": 1})


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["edges", "edges"], "partition.representations has 'edges' 2 times; name it once"),
        (
            ["edge"],
            "partition.representations has 'edge', which is none of pixels, edges, patches. There is no encoder",
        ),
        ([], "partition.representations"),
    ],
)
def test_wrong_representations_are_refused(names: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        tiny_recipe({"partition.epochs": 1, "partition.representations": names})
    keys = {"partition.epochs": 1, "partition.representations": ["lite0", "edges"]}
    assert tiny_recipe(keys).partition.representations == ("lite0", "edges")


@pytest.mark.parametrize("coarse", [None, {"digits": list(range(10))}])
def test_single_label_needs_something_to_learn(coarse: Any) -> None:
    with pytest.raises(UserError, match=r"there is only one coarse label, '.*', from which the experts cannot learn"):
        tiny_recipe({"data.coarse": coarse})
    for key, value in (("loss.mutual_information", 0.5), ("partition.epochs", 1)):
        assert tiny_recipe({"data.coarse": coarse, key: value}).data.coarse == coarse


def test_shares_of_partition_need_partition() -> None:
    keys = {"loss.shares": "partition", "loss.mutual_information": 0.3}
    with pytest.raises(UserError, match=r"there is no initial partition; set partition\.epochs above 0"):
        tiny_recipe(keys)
    assert tiny_recipe(keys | {"partition.epochs": 1}).loss.shares == "partition"


@pytest.mark.parametrize(
    ("keys", "key", "choice"),
    [
        ({"optimisation.momentum": 0.5}, "optimisation.momentum", "optimisation.optimizer adam"),
        ({"model.expert_channels": [8, 16]}, "model.expert_channels", "model.expert linear"),
        ({"loss.shares": "partition"}, "loss.shares", "loss.mutual_information 0"),
        ({"partition.images": 10}, "partition.images", "partition.epochs 0"),
        ({"partition.clusters": {"0-4": 2}}, "partition.clusters", "partition.epochs 0"),
        ({"pretraining.learning_rate": 0.1}, "pretraining.learning_rate", "pretraining.epochs 0"),
    ],
)
def test_unused_key_is_refused(keys: dict[str, Any], key: str, choice: str) -> None:
    with pytest.raises(UserError, match=rf"{re.escape(key)} is set, but has no effect with {re.escape(choice)}"):
        tiny_recipe(keys)


def test_defaults_may_stand_unused() -> None:
    recipe = tiny_recipe({"optimisation.momentum": 0.0, "model.expert_channels": [3, 6], "partition.images": 8000})
    assert recipe == tiny_recipe()
