"""The shipped bundle's drift, as benchmarks/drift.py measures it, on fewer images and without letters."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.drift import answers_of, delays, traffics, without_drift
from clustnet.bundles.bundle import Bundle, DriftReference
from clustnet.bundles.predictor import Predictor
from clustnet.datasets import LabelledImages
from serving.settings import SHIPPED_BUNDLE

IMAGES = 2000
WINDOW = 500


@pytest.fixture(scope="module")
def some(mnist_test: LabelledImages) -> LabelledImages:
    chosen = np.random.default_rng(0).permutation(len(mnist_test))[:IMAGES]
    return replace(
        mnist_test, images=mnist_test.images[chosen], coarse=mnist_test.coarse[chosen], fine=mnist_test.fine[chosen]
    )


@pytest.fixture(scope="module")
def reference() -> DriftReference:
    drift = Bundle(SHIPPED_BUNDLE).manifest.drift
    assert drift
    return drift


@pytest.fixture(scope="module")
def answers(some: LabelledImages, reference: DriftReference) -> dict[str, np.ndarray]:
    return answers_of(Predictor(Bundle(SHIPPED_BUNDLE), "cpu"), reference, some)


def test_test_digits_raise_no_alarm(answers: dict[str, np.ndarray], reference: DriftReference) -> None:
    for seed in range(3):
        alarm, largest = without_drift(reference, answers["test"], WINDOW, seed)
        assert (alarm, largest < 0.1) == (False, True)


@pytest.mark.parametrize(
    ("name", "images"), [("inverted", 30), ("turned by 90 degrees", 30), ("half of them one digit", 250)]
)
def test_other_traffic_raises_an_alarm_that_ends(
    answers: dict[str, np.ndarray], some: LabelledImages, reference: DriftReference, name: str, images: int
) -> None:
    for seed in range(2):
        until_alarm, until_end = delays(reference, answers["test"], traffics(answers, some.fine)[name], WINDOW, seed)
        assert 1 < until_alarm <= images
        assert 1 < until_end <= WINDOW


def test_answers_are_those_of_the_images(answers: dict[str, np.ndarray], reference: DriftReference) -> None:
    brightness = list(reference.counts()).index("brightness")
    # To turn an image keeps its brightness.
    np.testing.assert_array_equal(answers["turned"][:, brightness], answers["test"][:, brightness])
    assert (answers["inverted"][:, brightness] == len(reference.brightness.edges)).all()
