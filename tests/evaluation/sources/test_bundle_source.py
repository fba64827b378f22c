from pathlib import Path

import numpy as np
import pytest

from clustnet.bundles.predictor import CPU, Predictor
from clustnet.errors import UserError
from evaluation.sources.bundle_source import BundleSource
from tests.evaluation.made_up import HALVES
from tests.synthetic import THRESHOLD

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 28, 28), dtype=np.uint8)


def test_answers_are_those_of_the_predictor(synthetic_bundle: Path, predictor: Predictor) -> None:
    answers, expected = BundleSource(synthetic_bundle, "cpu").answer(IMAGES), predictor.predict(IMAGES)
    np.testing.assert_array_equal(answers.routing, expected.routing)
    np.testing.assert_array_equal(answers.class_probability, expected.class_probability)
    np.testing.assert_array_equal(answers.confidence, expected.confidence)
    np.testing.assert_array_equal(answers.abstain, expected.confidence < THRESHOLD)
    np.testing.assert_array_equal(answers.expert, expected.routing.argmax(axis=1))
    np.testing.assert_array_equal(answers.guess, expected.class_probability.argmax(axis=1))
    np.testing.assert_array_equal(answers.guess_probability, expected.class_probability.max(axis=1))
    for label, probability, positive in zip(
        answers.coarse_label, answers.coarse_probability, expected.positive_probability, strict=True
    ):
        assert (label, probability) == (("5-9", positive) if positive > 0.5 else ("0-4", 1 - positive))


def test_the_manifest_tells_the_rest(synthetic_bundle: Path) -> None:
    source = BundleSource(synthetic_bundle, "cpu")
    assert source.answer(IMAGES).model == ("synthetic", "1")
    assert source.grouping(set()) == HALVES
    class_map = {"data": "mnist:train", "reference_images": 2}
    assert source.description() == {"bundle": str(synthetic_bundle), "class_map": class_map}


def test_cuda_that_does_not_work_is_not_replaced_in_silence(
    synthetic_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clustnet.bundles.predictor.providers_for", lambda device: [CPU])
    with pytest.raises(UserError, match="no working CUDA device here; use --device auto or cpu"):
        BundleSource(synthetic_bundle, "cuda")
