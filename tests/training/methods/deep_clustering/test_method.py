from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.scores.scores import clustering_accuracy
from tests.training.deep import deep_recipe
from tests.training.tiny import same_state
from training.data.data import CoarseData, hide_fine_labels
from training.losses.student_t import soft_assignment, target_distribution
from training.methods.deep_clustering.config import DeepClusteringRecipe
from training.methods.deep_clustering.method import DeepClusteringMethod
from training.models.inference import route
from training.runs.loop import EpochProgress, train
from training.runs.run_folder import RunFolder

HALVES = {"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]}


def method(labelled: LabelledImages, recipe: DeepClusteringRecipe) -> DeepClusteringMethod:
    grouping = recipe.data.grouping(labelled.classes)
    assert grouping is not None
    return DeepClusteringMethod(hide_fine_labels(labelled.grouped(grouping)), recipe, Accelerator())


def blobs(images: int = 240) -> CoarseData:
    """Four easy classes: a bright quarter each, with noise."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 60, (images, 28, 28)).astype(np.uint8)
    for index in range(images):
        top, left = 14 * (index % 4 // 2), 14 * (index % 2)
        pixels[index, top : top + 14, left : left + 14] += 150
    return CoarseData(torch.from_numpy(pixels), torch.zeros(images, dtype=torch.int64), ("all",), (0.2,), (0.3,))


@pytest.mark.parametrize("clustering", [{"loss": "kl"}, {"loss": "kmeans"}, {"rebuild": "image", "imitation": 1}])
def test_easy_classes_are_found(clustering: dict[str, Any]) -> None:
    data = blobs()
    found = DeepClusteringMethod(data, deep_recipe(clustering=clustering, augmentation={"rotation": 0}), Accelerator())
    losses = list(found.run(0, EpochProgress(0, 9)))
    assert [(loss.epoch, loss.stage) for loss in losses] == [
        (1, "pretrain"),
        (2, "pretrain"),
        (3, "cluster"),
        (4, "cluster"),
    ]
    routed = route(found.model, data.images.numpy(), hard=False)
    assert clustering_accuracy(routed.routing.argmax(axis=1), np.arange(len(data.images)) % 4) > 0.95
    assert (routed.coarse_probability == 1).all() or np.allclose(routed.coarse_probability, 1)
    np.testing.assert_allclose(routed.routing.sum(axis=1), 1, rtol=1e-5)


def test_manifold_start_finds_them_too() -> None:
    data = blobs(120)
    found = DeepClusteringMethod(
        data, deep_recipe(clustering={"start": "manifold"}, optimisation={"epochs": 1}), Accelerator()
    )
    next(iter(found.run(1, EpochProgress(0, 9))))
    assert found.assigned is not None
    assert clustering_accuracy(found.assigned.numpy(), np.arange(120) % 4) > 0.95


def test_target_is_of_clean_images(mnist_train: LabelledImages) -> None:
    found = method(mnist_train.first(100), deep_recipe())
    for _ in found.run(0, EpochProgress(0, 9)):
        pass
    found._look(imitate=False)
    with torch.no_grad():
        embeddings = found.model.encoder(found.model.normalise(found.data.images))
    wanted = target_distribution(soft_assignment(embeddings, found.model.centroids.detach()))
    torch.testing.assert_close(found._target, wanted)
    assert torch.equal(found.assigned, soft_assignment(embeddings, found.model.centroids).argmax(dim=1))


def test_kmeans_centroids_are_means_of_their_clusters(mnist_train: LabelledImages) -> None:
    found = method(mnist_train.first(100), deep_recipe(clustering={"loss": "kmeans"}))
    for _ in found.run(0, EpochProgress(0, 9)):
        pass
    found._look(imitate=False)
    embeddings = found._embeddings()
    for cluster in found.assigned.unique():
        torch.testing.assert_close(
            found.model.centroids[cluster].data, embeddings[found.assigned == cluster].mean(dim=0)
        )


@pytest.mark.parametrize(
    ("groups", "clusters"),
    [(HALVES, [0, 0, 1, 1]), ({"a": [0, 1, 2], "b": [3, 4, 5], "c": [6, 7, 8, 9]}, [0, 1, 1, 2])],
)
def test_clusters_lie_within_their_coarse_label(
    mnist_train: LabelledImages, groups: dict[str, list[int]], clusters: list[int]
) -> None:
    shares = {label: clusters.count(index) for index, label in enumerate(groups)}
    found = method(mnist_train.first(200), deep_recipe(data={"coarse": groups}, model={"clusters": shares}))
    for _ in found.run(0, EpochProgress(0, 9)):
        pass
    assert found.model.cluster_labels.tolist() == clusters
    assert torch.equal(found.model.cluster_labels[found.assigned], found.data.coarse)
    target = found._target
    for label in range(len(groups)):
        assert torch.all(target[found.data.coarse == label][:, found.model.cluster_labels != label] == 0)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(len(target)))
    routed = route(found.model, mnist_train.images[:50], hard=False)
    wanted = routed.routing @ np.eye(len(groups))[clusters]
    np.testing.assert_allclose(routed.coarse_probability, wanted, atol=1e-6)


def test_tolerance_stops_when_few_images_change(mnist_train: LabelledImages) -> None:
    recipe = deep_recipe(clustering={"tolerance": 0.99}, optimisation={"epochs": 5})
    found = method(mnist_train.first(200), recipe)
    epochs = [losses.epoch for losses in found.run(0, EpochProgress(0, 9))]
    assert 3 <= len(epochs) < 7
    again = method(mnist_train.first(200), recipe)
    again.restore(found.state())
    assert list(again.run(epochs[-1], EpochProgress(0, 9))) == []


@pytest.mark.parametrize("loss", ["kl", "kmeans"])
def test_resumed_run_ends_with_same_weights(loss: str, tmp_path: Path) -> None:
    recipe = deep_recipe(clustering={"loss": loss})
    train(recipe, tmp_path / "whole")
    for last in (1, 2, 3):
        train(recipe, tmp_path / "parts", resume=last > 1, last=last)
    train(recipe, tmp_path / "parts", resume=True)
    one, other = (RunFolder(tmp_path / name).load_checkpoint(4) for name in ("whole", "parts"))
    assert same_state(one, other)


def test_architecture_for_other_images_is_refused(mnist_train: LabelledImages) -> None:
    layers = [{"type": "Input", "output_shape": [1, 32, 32]}, {"type": "Dense", "num_units": 4, "non_linearity": "elu"}]
    recipe = deep_recipe(model={"architecture": {"name": "big", "batch_size": 8, "layers": layers}})
    with pytest.raises(UserError, match="The architecture big reads images of 1x32x32, but the images are 1x28x28"):
        method(mnist_train, recipe)


@pytest.mark.parametrize(
    ("images", "experts", "sentence"),
    [
        (3, 4, "There are 3 training images for 4 clusters; give more"),
        (2, "auto", "model.experts is auto, but 2 training images are too few; set a number"),
    ],
)
def test_too_few_images_are_refused(
    mnist_train: LabelledImages, images: int, experts: int | str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        method(mnist_train.first(images), deep_recipe(model={"experts": experts}))


def test_adopted_pretraining_keeps_the_recipes_step_size(mnist_train: LabelledImages) -> None:
    few = mnist_train.first(100)
    pretrained = method(few, deep_recipe(optimisation={"learning_rate": 0.01}))
    found = method(few, deep_recipe(optimisation={"learning_rate": 1e-30}))  # too small to move a weight
    found.restore(pretrained.state())
    found._start()
    before = found.model.centroids.clone()
    list(found.run(3, EpochProgress(0, 9)))
    assert torch.equal(found.model.centroids, before)
