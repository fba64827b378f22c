from pathlib import Path

import numpy as np
import pytest

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.class_map import guesses
from clustnet.bundles.predictor import CPU, Predictor
from clustnet.errors import UserError
from evaluation.sources.bundle_source import BundleSource
from tests.evaluation.made_up import DIGITS, GROUPINGS, HALVES
from tests.synthetic import THRESHOLD, write_bundle


@pytest.mark.parametrize(("coarse", "colour"), [(1, False), (2, False), (3, True)])
def test_answers_are_those_of_the_predictor(tmp_path: Path, coarse: int, colour: bool) -> None:
    folder = write_bundle(tmp_path / "bundle", coarse=coarse, colour=colour)
    predictor = Predictor(Bundle(folder), "cpu")
    shape = (9, *predictor.manifest.input.shape)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    answers, expected = BundleSource(folder, "cpu").answer(images), predictor.predict(images)
    for name in ("coarse_probability", "routing", "class_probability", "confidence"):
        np.testing.assert_array_equal(getattr(answers, name), getattr(expected, name))
    np.testing.assert_array_equal(answers.abstain, expected.confidence < THRESHOLD)
    np.testing.assert_array_equal(answers.expert, expected.routing.argmax(axis=1))
    membership = predictor.manifest.membership()
    guess = guesses(expected.coarse_probability, expected.class_probability, membership)
    np.testing.assert_array_equal(answers.guess, guess)
    np.testing.assert_array_equal(answers.coarse, GROUPINGS[coarse - 1].coarse(guess))


def test_the_manifest_describes_the_model(synthetic_bundle: Path) -> None:
    source = BundleSource(synthetic_bundle, "cpu")
    assert source.info.model == ("synthetic", "1")
    assert (source.info.grouping, source.info.class_names, source.info.named) == (HALVES, DIGITS, True)
    assert source.info.class_map == {"kind": "references", "data": "mnist:train", "reference_images": 2}
    assert source.description() == {"bundle": str(synthetic_bundle)}


def test_numbered_subtypes_name_no_folders(tmp_path: Path) -> None:
    info = BundleSource(write_bundle(tmp_path / "bundle", coarse=3, named=False), "cpu").info
    assert (info.named, info.class_names[0]) == (False, "0-3/1")
    assert info.folder_names.folders() == ("0-3", "4-6", "7-9")


def test_cuda_that_fails_is_reported(synthetic_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clustnet.bundles.predictor.providers_for", lambda device: [CPU])
    with pytest.raises(UserError, match="no working CUDA device here; use --device auto or cpu"):
        BundleSource(synthetic_bundle, "cuda")
