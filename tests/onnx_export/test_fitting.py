from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.calibration import TEMPERATURES
from clustnet.bundles.class_map import class_probability
from clustnet.bundles.predictor import Predictor
from clustnet.errors import UserError
from onnx_export import fitting as room
from onnx_export.export import load_model
from onnx_export.fitting import fit, fit_reference
from tests.onnx_export.conftest import KINDS
from tests.training.tiny import tiny_recipe
from training.data.data import load_split
from training.models.mixture import MixtureOfExperts
from training.recipe.recipe import Recipe
from training.runs.run_folder import RunFolder

Run = Callable[[str], Path]


def model_of(run: Path) -> tuple[MixtureOfExperts, Recipe]:
    folder = RunFolder(run)
    recipe = folder.recipe()
    return load_model(folder, recipe, load_split(recipe.data, "train")), recipe


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_class_map_counts_the_reference_images_cell_by_cell(bundle: Any, run: Run, kind: str) -> None:
    class_map = bundle(kind)[1].manifest.class_map
    model, recipe = model_of(run(kind))
    train = load_split(recipe.data, "train")
    counts = np.full((3, 2, 10), 0.1)
    for index in class_map.reference_indices:
        with torch.no_grad():
            output = model(torch.from_numpy(train.images[index : index + 1].copy()))
        routing, probability = output.log_routing.exp()[0].numpy(), output.expert_logit.sigmoid()[0].numpy()
        weights = np.eye(3)[routing.argmax()] if kind == "hard" else routing
        for e in range(3):
            counts[e, 1, train.labels[index]] += weights[e] * probability[e]
            counts[e, 0, train.labels[index]] += weights[e] * (1 - probability[e])
    np.testing.assert_allclose(class_map.array(), counts / counts.sum(axis=2, keepdims=True), atol=1e-5)


def test_reference_images_are_so_many_of_each_class_of_the_training_split(bundle: Any) -> None:
    class_map = bundle("soft")[1].manifest.class_map
    train = load_split(tiny_recipe().data, "train")
    assert class_map.data == "mnist:train"
    assert class_map.reference_images == len(set(class_map.reference_indices)) == 50
    assert np.bincount(train.labels[class_map.reference_indices]).tolist() == [5] * 10


def test_no_label_but_those_of_the_drawn_images_enters_the_class_map(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, recipe = model_of(run("soft"))
    train = load_split(recipe.data, "train")
    plain = fit_reference(model, recipe, train)
    drawn = np.array(plain.reference_indices)
    monkeypatch.setattr(room, "draw_reference", lambda *_: drawn)
    others = np.setdiff1d(np.arange(len(train)), drawn)
    labels = train.labels.copy()
    labels[others] = np.random.default_rng(0).permutation(labels[others])
    assert fit_reference(model, recipe, replace(train, labels=labels)) == plain
    labels[drawn[0]] = (labels[drawn[0]] + 1) % 10
    assert fit_reference(model, recipe, replace(train, labels=labels)).values != plain.values


def test_too_few_images_of_a_class_are_named(run: Run) -> None:
    model, recipe = model_of(run("soft"))
    train = load_split(recipe.data, "train")
    few = replace(train, images=train.images[train.labels != 7], labels=train.labels[train.labels != 7])
    with pytest.raises(UserError, match=r"The class '7' has 0 training images, but reference.per_class asks for 5"):
        fit_reference(model, recipe, few)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_temperature_makes_coarse_labels_likeliest(bundle: Any, kind: str) -> None:
    folder, exported = bundle(kind)
    manifest, train = exported.manifest, load_split(tiny_recipe().data, "train")
    found = Predictor(Bundle(folder), "cpu").predict(train.images)
    weights = np.eye(3)[found.routing.argmax(axis=1)] if kind == "hard" else found.routing
    logits = np.log(class_probability(weights, found.expert_probability, manifest.class_map.array()))

    def loss(temperature: float) -> float:
        probability = torch.softmax(torch.from_numpy(logits) / temperature, dim=1)
        positive = probability[:, 5:].sum(dim=1)
        target = torch.from_numpy((train.labels >= 5).astype(float))
        return torch.nn.functional.binary_cross_entropy(positive, target).item()

    assert loss(manifest.calibration.temperature) <= min(map(loss, np.geomspace(*TEMPERATURES, 40))) + 1e-4
    assert (manifest.calibration.data, manifest.calibration.images) == ("mnist:train", 200)


@pytest.mark.parametrize("kind", KINDS)
def test_the_threshold_is_that_of_images_which_did_not_fit_the_confidence(bundle: Any, run: Run, kind: str) -> None:
    folder, exported = bundle(kind)
    abstention, train = exported.manifest.abstention, load_split(RunFolder(run(kind)).recipe().data, "train")
    others = Predictor(Bundle(folder), "cpu").predict(train.images[1::2]).confidence
    assert (abstention.share, abstention.images) == (0.01, len(others))
    assert abstention.threshold == pytest.approx(np.quantile(others, 0.01), rel=1e-4)


def test_fine_labels_enter_the_class_map_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, recipe = model_of(run("soft"))
    train = load_split(recipe.data, "train")
    plain = fit(model, recipe, train)
    monkeypatch.setattr(room, "fit_reference", lambda *_: plain.class_map)
    within_groups = train.labels // 5 * 5  # the coarse labels stay
    other = fit(model, recipe, replace(train, labels=within_groups))
    assert (other.calibration, other.abstention) == (plain.calibration, plain.abstention)
    torch.testing.assert_close(other.confidence.means, plain.confidence.means, rtol=0, atol=0)


def test_noise_is_refused_and_digits_are_not(bundle: Any) -> None:
    folder, exported = bundle("soft")
    digits = load_split(tiny_recipe().data, "test").images
    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    predictor, abstention = Predictor(Bundle(folder), "cpu"), exported.manifest.abstention
    assert abstention.refuses(predictor.predict(noise).confidence).mean() > 0.95
    assert abstention.refuses(predictor.predict(digits).confidence).mean() < 0.2


def test_images_are_taken_from_everywhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    train = load_split(tiny_recipe().data, "train")
    monkeypatch.setattr(room, "IMAGES", 60)
    some = room.spread(train)
    np.testing.assert_array_equal(some.images, train.images[::3])
    np.testing.assert_array_equal(some.labels, train.labels[::3])
