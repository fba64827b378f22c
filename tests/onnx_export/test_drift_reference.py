from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.class_map import guesses
from clustnet.bundles.drift import Observed
from clustnet.bundles.predictor import Predictor
from clustnet.datasets import LabelledImages
from onnx_export.drift_reference import fit_drift_reference
from onnx_export.fitting import fit
from tests.onnx_export.conftest import KINDS
from training.data.data import load_split
from training.runs.run_folder import RunFolder

Run = Callable[[str], Path]


def of_split(labelled: LabelledImages) -> list[NDArray[np.uint8]]:
    return [labelled.images]


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_counts_the_bundles_answers(bundle: Any, run: Run, kind: str) -> None:
    """They are for images that the confidence's means were not fitted on."""
    folder, exported = bundle(kind)
    drift, train = exported.manifest.drift, load_split(RunFolder(run(kind)).recipe().data, "train")
    images = train.images[1::2]
    outputs = Predictor(Bundle(folder), "cpu").predict(images)
    assert (drift.data, drift.images, drift.held_out) == (f"{train.name}:train", len(images), False)
    load = np.bincount(outputs.routing.argmax(axis=1), minlength=len(drift.expert_load))
    membership = exported.manifest.membership()
    guessed = guesses(outputs.coarse_probability, outputs.class_probability, membership)
    guess = np.bincount(guessed, minlength=membership.shape[1])
    for counts, expected in ((drift.expert_load, load), (drift.guess, guess)):
        # torch and onnxruntime may break a tie otherwise.
        assert np.abs(counts - expected).sum() <= 0.04 * len(images)
    brightness = images.reshape(len(images), -1).mean(axis=1) / 255
    edges = [-np.inf, *drift.brightness.edges, np.inf]
    assert drift.brightness.counts == np.histogram(brightness, edges)[0].tolist()
    deciles = np.quantile(outputs.confidence, np.arange(1, 10) / 10)
    np.testing.assert_allclose(drift.confidence.edges, deciles, rtol=1e-4)


def test_validation_images_are_the_reference(run: Run) -> None:
    """No label enters it."""
    folder = RunFolder(run("soft"))
    recipe, model = folder.recipe(), folder.load_network()
    train = load_split(recipe.data, "train")
    fitted = fit(model, recipe.hard, recipe.reference, train, train)
    mixture, membership = fitted.mixture(model, recipe.hard), fitted.subtypes.membership()
    drift = fit_drift_reference(mixture, membership, 40, train, of_split)
    assert (drift.images, drift.held_out) == (40, True)
    brightness = train.images[-40:].reshape(40, -1).sum(axis=1) / (255 * 784)
    observed = Observed(*(np.zeros(40, int) for _ in range(2)), np.zeros(40, np.float32), brightness)
    assert np.bincount(observed.bins(drift)[:, 3], minlength=10).tolist() == drift.brightness.counts
    unlabelled = replace(train, fine=train.fine[::-1], coarse=train.coarse[::-1])
    assert fit_drift_reference(mixture, membership, 40, unlabelled, of_split) == drift
