from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.drift import Observed
from clustnet.bundles.predictor import Predictor
from onnx_export.drift_reference import fit_reference_of_drift
from onnx_export.export import load_model
from onnx_export.fitting import fit
from onnx_export.graphs import Mixture
from tests.onnx_export.conftest import KINDS
from tests.training.tiny import tiny_recipe
from training.data.data import load_split
from training.runs.run_folder import RunFolder

Run = Callable[[str], Path]


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_counts_the_bundles_answers_for_the_images_that_the_confidence_does_not_know(
    bundle: Any, run: Run, kind: str
) -> None:
    folder, exported = bundle(kind)
    drift, train = exported.manifest.drift, load_split(RunFolder(run(kind)).recipe().data, "train")
    images = train.images[1::2]
    outputs = Predictor(Bundle(folder), "cpu").predict(images)
    assert (drift.data, drift.images, drift.held_out) == (f"{train.name}:train", len(images), False)
    load = np.bincount(outputs.routing.argmax(axis=1), minlength=len(drift.expert_load))
    guess = np.bincount(outputs.class_probability.argmax(axis=1), minlength=10)
    for counts, expected in ((drift.expert_load, load), (drift.guess, guess)):
        assert np.abs(counts - expected).sum() <= 0.04 * len(images)  # torch and onnxruntime may break a tie otherwise
    ink = images.reshape(len(images), -1).mean(axis=1) / 255
    assert drift.ink.counts == np.histogram(ink, [-np.inf, *drift.ink.edges, np.inf])[0].tolist()
    deciles = np.quantile(outputs.confidence, np.arange(1, 10) / 10)
    np.testing.assert_allclose(drift.confidence.edges, deciles, rtol=1e-4)


def mixture_of(run: Path) -> Mixture:
    folder = RunFolder(run)
    recipe = folder.recipe()
    train = load_split(recipe.data, "train")
    model = load_model(folder, recipe, train)
    return fit(model, recipe, train).mixture(model, recipe.routing == "hard")


def test_validation_images_are_the_reference_where_there_are_some_and_no_label_enters(run: Run) -> None:
    mixture, recipe = mixture_of(run("soft")), tiny_recipe({"data.validation_images": 40})
    train = load_split(recipe.data, "train")
    drift = fit_reference_of_drift(mixture, recipe, train)
    assert (drift.images, drift.held_out) == (40, True)
    ink = train.images[-40:].reshape(40, -1).sum(axis=1) / (255 * 784)
    observed = Observed(*(np.zeros(40, int) for _ in range(2)), np.zeros(40, np.float32), ink)
    assert np.bincount(observed.bins(drift)[:, 3], minlength=10).tolist() == drift.ink.counts
    assert fit_reference_of_drift(mixture, recipe, replace(train, labels=train.labels[::-1])) == drift
