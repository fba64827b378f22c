import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from clustnet.bundles.predictor import Predictions, Predictor
from clustnet.feedback.feedback_file import Labels
from serving.api.recent_answers import RecentAnswers
from serving.api.responses import predictions_of

Maker = Callable[..., RecentAnswers]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Maker]:
    """Makes those of another worker with each call."""
    some: list[RecentAnswers] = []

    def make(max_images: int = 100) -> RecentAnswers:
        some.append(RecentAnswers(tmp_path / "answers", max_images))
        return some[-1]

    yield make
    for answers in some:
        answers.close()


def outputs(predictor: Predictor, images: int, seed: int = 0) -> Predictions:
    shape = predictor.manifest.input.shape
    return predictor.predict(np.random.default_rng(seed).integers(0, 256, (images, *shape)).astype(np.uint8))


def test_the_answers_are_those_that_clients_get(made: Maker, any_predictor: Predictor) -> None:
    answers, manifest = made(), any_predictor.manifest
    for seed, name in enumerate("abc"):
        answers.keep(name, outputs(any_predictor, 3 + seed, seed), manifest)
    for seed, name in enumerate("abc"):
        model, found = answers.find(name) or pytest.fail(name)
        assert model == Labels.of(manifest)
        expected = predictions_of(outputs(any_predictor, 3 + seed, seed), manifest)
        assert [asdict(answer) | {"answered": 0} for answer in found] == [
            {
                "answered": 0,
                "guess": told.guess.label,
                "guess_probability": told.guess.probability,
                "coarse": told.coarse.label,
                "coarse_probability": told.coarse.probability,
                "expert": told.expert,
                "confidence": told.confidence,
                "abstain": told.abstain,
            }
            for told in expected
        ]
    assert answers.find("d") is None


def test_workers_share_answers_and_the_newest_counts(made: Maker, predictor: Predictor) -> None:
    one, other = made(), made()
    one.keep("a", outputs(predictor, 1), predictor.manifest)
    assert one.find("a")
    newer = predictor.manifest.model_copy(update={"version": "2"})
    other.keep("a", outputs(predictor, 2), newer)
    assert other.find("a")
    model, found = one.find("a") or pytest.fail("a")
    assert (model.version, len(found)) == ("2", 2)


def test_old_answers_are_forgotten_by_image_count(made: Maker, predictor: Predictor) -> None:
    answers = made(max_images=6)
    for name, images in (("a", 1), ("b", 3), ("c", 2), ("d", 1)):
        answers.keep(name, outputs(predictor, images), predictor.manifest)
        answers.find(name)
    assert [name for name in "abcd" if answers.find(name)] == ["b", "c", "d"]
    answers.keep("e", outputs(predictor, 2), predictor.manifest)
    answers.keep("f", outputs(predictor, 3), predictor.manifest.model_copy(update={"name": "other"}))
    assert [name for name in "abcdef" if answers.find(name)] == ["d", "e", "f"]


def test_the_file_stays_as_large_as_it_is(made: Maker, predictor: Predictor, tmp_path: Path) -> None:
    answers, some = made(max_images=200), outputs(predictor, 1)
    sizes = []
    for _ in range(6):
        for number in range(400):
            answers.keep(f"{len(sizes)}-{number}", some, predictor.manifest)
        answers.find("")
        answers._file.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sizes.append((tmp_path / "answers").stat().st_size)
    assert sizes[-1] <= 1.2 * sizes[1]


def test_a_fault_is_logged_once(
    made: Maker, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = made()
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    with monkeypatch.context() as fault:
        fault.setattr("serving.api.recent_answers.ADD", "nonsense")
        for name in "ab":
            answers.keep(name, outputs(predictor, 1), predictor.manifest)
            assert answers.find(name) is None
    assert caplog.text.count("Answers cannot be kept for feedback") == 1
    answers.keep("c", outputs(predictor, 1), predictor.manifest)
    assert answers.find("c")
