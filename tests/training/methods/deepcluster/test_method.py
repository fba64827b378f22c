from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import normalize

from clustnet.errors import UserError
from clustnet.scores.scores import clustering_accuracy
from tests.training.team import together
from tests.training.tiny import noise, same_state
from training.data.data import CoarseData
from training.methods.deepcluster.config import DeepClusterRecipe
from training.methods.deepcluster.method import DeepClusterMethod
from training.models.convnet_clusters import Centroids, Classifier
from training.models.inference import route
from training.recipe.reading import validated
from training.runs.loop import EpochProgress, train
from training.runs.run_folder import RunFolder

MODEL = {"channels": [8] * 5, "embedding": 16, "experts": 4}
VERSIONS: dict[int, dict[str, Any]] = {
    1: {"model": MODEL | {"version": 1}},
    2: {"model": MODEL | {"version": 2, "projection": 8}, "views": {"sizes": [16, 16, 12]}},
}


def recipe_of(version: int, **parts: Any) -> DeepClusterRecipe:
    """Return a tiny recipe; keys of ``parts`` are laid over those of its parts."""
    content: dict[str, Any] = {
        "method": "deepcluster",
        "data": {"train_images": 200, "test_images": 60, "coarse": {"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]}},
        "optimisation": {"epochs": 3, "batch_size": 40, "learning_rate": 0.05, "warm_up": 2},
        "reference": {"per_class": 3},
        "vis": 0,
    } | VERSIONS[version]
    for name, part in parts.items():
        content[name] = {**content.get(name, {}), **part}
    recipe = validated(content, "tiny")
    assert isinstance(recipe, DeepClusterRecipe)
    return recipe


def colours(images: int = 200, labels: int = 1) -> CoarseData:
    """Four easy classes: a colour each, with noise; of two coarse labels the first has classes 0 and 1."""
    classes = torch.arange(images) % 4
    shades = torch.tensor([[200, 20, 20], [20, 200, 20], [20, 20, 200], [200, 200, 20]])
    pixels = (shades[classes][:, None, None] + noise(images, (16, 16, 3)) // 8).clamp(max=255).to(torch.uint8)
    coarse = classes // 2 if labels == 2 else torch.zeros(images, dtype=torch.int64)
    return CoarseData(pixels, coarse, tuple("ab"[:labels]), (0.4,) * 3, (0.3,) * 3)


def method(version: int, data: CoarseData | None = None, **parts: Any) -> DeepClusterMethod:
    return DeepClusterMethod(data or colours(), recipe_of(version, **parts), Accelerator())


@pytest.mark.parametrize(("version", "how"), [(1, {"components": 2, "starts": 5, "every": 8}), (2, {})])
def test_easy_classes_are_found(version: int, how: dict[str, Any]) -> None:
    data = colours(labels=2)
    found = method(version, data, optimisation={"epochs": 8}, assignment=how)
    losses = [epoch.loss for epoch in found.run(0, EpochProgress(0, 9))]
    assert losses[-1] < losses[0]
    routed = route(found.model, data.images.numpy(), hard=False)
    assert clustering_accuracy(routed.routing.argmax(axis=1), np.arange(200) % 4) > 0.95
    right = routed.coarse_probability.argmax(axis=1) == data.coarse.numpy()
    assert right.mean() > 0.95


def test_loss_is_the_cross_entropy_with_clusters() -> None:
    found = method(1, augmentation={"crop": 0, "flip": 0})
    found._assign(1)
    head, chosen = found.model.head, torch.arange(40)
    assert isinstance(head, Classifier)
    assert found.assigned is not None
    with torch.no_grad():
        rows = found.model.train().encoder(found.model.normalise(found.data.images[chosen])).relu().double()
        logits = rows @ head.linear.weight.double().T + head.linear.bias.double()
    expected = (logits.exp().sum(dim=1).log() - logits[chosen, found.assigned[chosen]]).mean()
    found._generator = torch.Generator()
    assert float(found._step(chosen)) == pytest.approx(float(expected), rel=1e-4)


def test_loss_of_views_is_that_of_centroids() -> None:
    found = method(2, augmentation={"crop": 0, "flip": 0}, views={"sizes": [16, 16]})
    found._assign(1)
    head, chosen = found.model.head, torch.arange(40)
    assert isinstance(head, Centroids)
    assert found.assigned is not None
    with torch.no_grad():
        pixels = found.model.normalise(found.data.images[chosen])
        rows = normalize(head.projection(found.model.train().encoder(torch.cat([pixels, pixels]))), dim=1).double()
    logits = rows @ head.centroids.double().T / 0.1
    wanted = found.assigned[chosen].repeat(2)
    expected = (logits.exp().sum(dim=1).log() - logits[torch.arange(80), wanted]).mean()
    found._generator = torch.Generator()
    assert float(found._step(chosen)) == pytest.approx(float(expected), rel=1e-4)
    assert found.bank is not None
    # Both views are the image itself.
    torch.testing.assert_close(found.bank[chosen], rows[:40].float(), rtol=1e-4, atol=1e-5)


def test_centroids_are_the_means_of_their_clusters() -> None:
    found = method(2)
    found._assign(1)
    assert found.bank is not None
    assert found.assigned is not None
    assert isinstance(found.model.head, Centroids)
    for cluster, centroid in enumerate(found.model.head.centroids):
        mean = found.bank[found.assigned == cluster].mean(dim=0)
        torch.testing.assert_close(centroid, mean / mean.norm())


def test_classifier_is_redrawn_and_its_optimizer_reset() -> None:
    found = method(1, optimisation={"epochs": 2})
    epochs = found.run(0, EpochProgress(0, 9))
    next(epochs)
    head = found.model.head
    assert isinstance(head, Classifier)
    before, encoder = head.linear.weight.clone(), found.optimizers["encoder"].state_dict()["state"]
    assert found.optimizers["head"].state_dict()["state"]
    found._assign(2)
    assert not found.optimizers["head"].state_dict()["state"]
    assert not torch.equal(head.linear.weight, before)
    assert same_state(found.optimizers["encoder"].state_dict()["state"], encoder)


def test_clusters_stay_between_two_assignments() -> None:
    found = method(2, assignment={"every": 2})
    seen = []
    for _ in found.run(0, EpochProgress(0, 9)):
        assert found.assigned is not None
        seen.append(found.assigned.clone())
    assert torch.equal(seen[0], seen[1])
    assert found.figures["assignment/nmi"] > 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_resumed_run_has_the_same_weights(tmp_path: Path, version: int) -> None:
    recipe = recipe_of(version)
    random = torch.random.get_rng_state()
    train(recipe, tmp_path / "whole")
    assert torch.equal(torch.random.get_rng_state(), random)
    train(recipe, tmp_path / "parted", last=2)
    rows = train(recipe, tmp_path / "parted", resume=True)
    expected, found = (RunFolder(tmp_path / name).load_checkpoint(3) for name in ("whole", "parted"))
    assert same_state(expected, found)
    keys = ("assignment/nmi", "assignment/reassigned", "assignment/smallest", "assignment/split", "class_accuracy")
    assert all(key in rows[-1] for key in keys)
    assert (tmp_path / "parted" / "scores.csv").read_text().count("assignment/nmi") == 1


def test_only_some_epochs_are_scored() -> None:
    found = method(2, optimisation={"epochs": 5, "score_every": 2})
    assert [epoch.epoch for epoch in found.run(0, EpochProgress(0, 9))] == [2, 4, 5]


def trained(version: int) -> dict[str, Tensor]:
    """Return the weights after two steps, and what led to them."""
    found = method(version, colours(24, labels=2), optimisation={"epochs": 1, "batch_size": 12, "learning_rate": 0.01})
    losses = [epoch.loss for epoch in found.run(0, EpochProgress(0, 9))]
    assert found.assigned is not None
    return found.model.state_dict() | {"losses": torch.tensor(losses), "assigned": found.assigned}


@pytest.mark.parametrize("version", [1, 2])
def test_two_processes_reach_weights_of_one(tmp_path: Path, version: int) -> None:
    alone = trained(version)
    first, second = together(tmp_path, 2, trained, version)
    torch.testing.assert_close(first, alone, atol=1e-4, rtol=1e-3)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("version", "parts", "message"),
    [
        (1, {"views": {"sizes": [16, 16]}}, r"views\.sizes has 2 views, but version 1 takes one"),
        (2, {"views": {"sizes": [4]}}, r"views\.sizes has 4, but a view has 8 pixels or more"),
        (1, {"model": {"projection": 9}}, r"model\.projection is set, but has no effect with model\.version 1"),
        (
            2,
            {"assignment": {"components": 9}},
            r"assignment\.components is set, but has no effect with model\.version 2",
        ),
        (
            2,
            {"model": {"network": "alexnet"}},
            r"model\.channels is set, but has no effect with model\.network alexnet",
        ),
        (2, {"data": {"coarse": {str(i): [i] for i in range(10)}}}, r"each of the 10 coarse labels needs a cluster"),
    ],
)
def test_recipes_of_no_sense_are_refused(version: int, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe_of(version, **parts)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"There are 3 training images of 'a' for 4 clusters; give more images"):
        method(2, colours(3))


def test_clusters_are_shared_out_by_images() -> None:
    assert recipe_of(2, model={"experts": 10}).clusters(("a", "b", "c"), (600, 399, 1)) == (5, 4, 1)
    assert recipe_of(2, model={"experts": 5}).clusters(("a", "b")) == (3, 2)
