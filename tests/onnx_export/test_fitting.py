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
from clustnet.datasets import UNKNOWN
from onnx_export import fitting as room
from onnx_export.fitting import fit
from tests.onnx_export.conftest import HARD, KINDS
from tests.training.tiny import tiny_recipe
from training.data.data import load_split
from training.runs.run_folder import RunFolder

Run = Callable[[str], Path]


@pytest.mark.parametrize("kind", ["soft", "hard", "colour", "unnamed"])
def test_the_temperature_makes_coarse_labels_likeliest(bundle: Any, run: Run, kind: str) -> None:
    folder, exported = bundle(kind)
    manifest, train = exported.manifest, load_split(RunFolder(run(kind)).recipe().data, "train")
    found = Predictor(Bundle(folder), "cpu").predict(train.images)
    experts = np.eye(manifest.experts)
    weights = experts[found.routing.argmax(axis=1)] if kind in HARD else found.routing
    logits = np.log(class_probability(weights, found.expert_probability, manifest.class_map.array()).clip(1e-12))
    members = torch.from_numpy(manifest.membership().T.astype(float))

    def loss(temperature: float) -> float:
        probability = torch.softmax(torch.from_numpy(logits) / temperature, dim=1)
        logarithms = (probability @ members).clamp(min=1e-12).log()
        return torch.nn.functional.nll_loss(logarithms, torch.from_numpy(train.coarse)).item()

    assert loss(manifest.calibration.temperature) <= min(map(loss, np.geomspace(*TEMPERATURES, 40))) + 1e-4
    assert (manifest.calibration.data, manifest.calibration.images) == (f"{train.name}:train", len(train))


def test_one_coarse_label_has_the_temperature_one(bundle: Any) -> None:
    calibration = bundle("clusters")[1].manifest.calibration
    assert (calibration.temperature, calibration.images) == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_threshold_is_that_of_other_images(bundle: Any, run: Run, kind: str) -> None:
    folder, exported = bundle(kind)
    abstention, train = exported.manifest.abstention, load_split(RunFolder(run(kind)).recipe().data, "train")
    others = Predictor(Bundle(folder), "cpu").predict(train.images[1::2]).confidence
    assert (abstention.share, abstention.images) == (0.01, len(others))
    assert abstention.threshold == pytest.approx(np.quantile(others, 0.01), rel=1e-4)


def test_fine_labels_enter_the_class_map_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, recipe = RunFolder(run("soft")).load_network(), RunFolder(run("soft")).recipe()
    train = load_split(recipe.data, "train")
    plain = fit(model, recipe.hard, recipe.reference, train, train)
    monkeypatch.setattr(room, "subtypes_of_references", lambda *_: plain.subtypes)
    unlabelled = replace(train, fine=np.full(len(train), UNKNOWN))
    other = fit(model, recipe.hard, recipe.reference, unlabelled, unlabelled)
    assert (other.calibration, other.abstention) == (plain.calibration, plain.abstention)
    torch.testing.assert_close(other.confidence.means, plain.confidence.means, rtol=0, atol=0)


def test_noise_is_refused_and_digits_are_not(bundle: Any) -> None:
    folder, exported = bundle("soft")
    test = load_split(tiny_recipe().data, "test")
    assert test is not None
    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    predictor, abstention = Predictor(Bundle(folder), "cpu"), exported.manifest.abstention
    assert abstention.refuses(predictor.predict(noise).confidence).mean() > 0.95
    assert abstention.refuses(predictor.predict(test.images).confidence).mean() < 0.2


def test_images_are_taken_from_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    train = load_split(tiny_recipe().data, "train")
    monkeypatch.setattr(room, "MIN_FITTED_IMAGES", 60)
    some = room.spread(train)
    np.testing.assert_array_equal(some.images, train.images[::3])
    np.testing.assert_array_equal(some.fine, train.fine[::3])
