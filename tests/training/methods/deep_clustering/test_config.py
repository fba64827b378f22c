import re
from typing import Any

import pytest

from clustnet.errors import UserError
from tests.training.deep import ARCHITECTURE, deep_recipe
from training.methods.deep_clustering.config import AUTO
from training.recipe.reading import validated

HALVES = {"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]}
FOLDER = {"name": "folder", "coarse": "given", "train_images": None, "test_images": None}


@pytest.mark.parametrize(
    ("data", "model", "labels", "clusters"),
    [
        ({}, {"experts": 4}, ("all",), (4,)),
        ({"coarse": HALVES}, {"experts": 4}, ("low", "high"), (2, 2)),
        ({"coarse": {"a": [0], "b": list(range(1, 10))}}, {"experts": 20}, ("a", "b"), (2, 18)),
        (FOLDER, {"experts": 6}, ("a", "b", "c"), (2, 2, 2)),
        (FOLDER, {"experts": 6, "clusters": {"b": 4, "a": 2}}, ("a", "b"), (2, 4)),
        ({}, {"experts": "auto"}, ("all",), (1,)),
    ],
)
def test_clusters_are_shared_out(
    data: dict[str, Any], model: dict[str, Any], labels: tuple[str, ...], clusters: tuple[int, ...]
) -> None:
    recipe = deep_recipe(data=data, model=model)
    recipe.check(labels)
    assert recipe.clusters(labels) == clusters


@pytest.mark.parametrize(
    ("model", "labels", "sentence"),
    [
        (
            {"experts": 5},
            ("a", "b"),
            "model.experts is 5, which cannot be shared out evenly among the coarse labels a, ",
        ),
        ({"experts": 5, "clusters": {"a": 5}}, ("a", "b"), "gives the coarse labels 5, 0 clusters, but each needs one"),
        ({"experts": 4, "clusters": {"a": 4, "c": 1}}, ("a",), "model.clusters has 'c', but the coarse labels are a;"),
        ({"experts": "auto"}, ("a", "b"), "model.experts is auto, but that works with a single coarse label"),
    ],
)
def test_clusters_that_do_not_fit_are_refused(model: dict[str, Any], labels: tuple[str, ...], sentence: str) -> None:
    recipe = deep_recipe(data=FOLDER, model=model)
    with pytest.raises(UserError, match=re.escape(sentence)):
        recipe.check(labels)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "model.architecture is missing; give one, such as configs/architectures/mnist.json:0."),
        ({"model": {"architecture": ARCHITECTURE, "experts": 1}}, "model.experts is 1, but must be 2 clusters or more"),
        ({"model": {"architecture": ARCHITECTURE, "experts": "many"}}, "it is 'many', but must be a whole number or"),
        (
            {"model": {"architecture": ARCHITECTURE, "experts": "auto"}, "data": {"coarse": None}, "restarts": 2},
            "that works with one restart",
        ),
        ({"loss": {}}, "deep_clustering has no key 'loss'; did you mean 'clustering.loss'?"),
        ({"optimisation": {"momentum": 0.1}}, "deep_clustering has no key 'optimisation.momentum'; optimisation has "),
        ({"model": {"channels": [4, 8]}}, "deep_clustering has no key 'model.channels'; model has architecture,"),
    ],
)
def test_fault_names_key(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        validated({"method": "deep_clustering"} | content, "a.yaml")


@pytest.mark.parametrize(
    ("parts", "key", "choice"),
    [
        ({"clustering": {"neighbours": 5}}, "clustering.neighbours", "clustering.start kmeans"),
        ({"clustering": {"manifolds": 5}}, "clustering.manifolds", "clustering.start kmeans"),
        ({"clustering": {"manifolds": 5, "start": "graph"}}, "clustering.manifolds", "clustering.start graph"),
        ({"pretraining": {"epochs": 0, "learning_rate": 0.5}}, "pretraining.learning_rate", "pretraining.epochs 0"),
        (
            {"clustering": {"rebuild": "image"}, "augmentation": {"rotation": 0, "shift": 0}},
            "clustering.rebuild",
            "no augmentation",
        ),
        ({"model": {"experts": "auto", "clusters": {"all": 3}}}, "model.clusters", "model.experts auto"),
    ],
)
def test_unused_key_is_refused(parts: dict[str, Any], key: str, choice: str) -> None:
    with pytest.raises(UserError, match=rf"{re.escape(key)} is set, but has no effect with {re.escape(choice)}"):
        deep_recipe(**parts)


def test_auto_survives_yaml() -> None:
    recipe = deep_recipe(model={"experts": "auto"})
    assert recipe.model.experts == AUTO
    assert "experts: auto" in recipe.to_yaml()
