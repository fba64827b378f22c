import statistics
from types import SimpleNamespace

import numpy as np
import pytest

from clustnet.bundles.class_map import draw_reference, fit_class_map
from clustnet.bundles.predictor import Predictions, Predictor
from clustnet.bundles.routing import routing_weights
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from evaluation.report.reference_budget import DRAWS, ReferenceBudget, check_budgets, measure_budget
from tests.evaluation.made_up import DIGITS


def labelled(images: int, split: str, seed: int) -> LabelledImages:
    """Random images of each digit in turn, their digit in the first pixel."""
    labels = np.arange(images) % 10
    pictures = np.random.default_rng(seed).integers(0, 256, (images, 28, 28), dtype=np.uint8)
    pictures[:, 0, 0] = labels
    return LabelledImages("made-up", split, pictures, labels, DIGITS, (0.5,), (0.5,))


class Reader:
    """Reads the digit from the first pixel: each expert has one digit of each group."""

    manifest = SimpleNamespace(routing="soft")

    def __init__(self) -> None:
        self.seen = 0

    def predict(self, images: np.ndarray, batch_size: int) -> Predictions:
        self.seen += len(images)
        digit = images[:, 0, 0]
        routing = np.eye(5, dtype=np.float32)[digit % 5]
        positive = (digit > 4).astype(np.float32)
        classes = np.eye(10, dtype=np.float32)[digit]
        return Predictions(positive, routing, np.tile(positive[:, None], 5), classes, np.ones_like(positive))


def test_one_image_of_each_class_names_perfect_cells() -> None:
    reader = Reader()
    found = measure_budget(reader, labelled(200, "train", 0), labelled(30, "test", 1), (1, 2))  # type: ignore[arg-type]
    assert found.training == "made-up:train"
    assert found.per_class == (1, 2)
    np.testing.assert_array_equal(found.accuracy, np.ones((2, DRAWS)))
    assert reader.seen < 230  # the images of no draw are left out


@pytest.mark.parametrize("hard", [False, True])
def test_each_draw_is_scored_as_by_hand(predictor: Predictor, hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = predictor.manifest.model_copy(update={"routing": "hard" if hard else "soft"})
    monkeypatch.setattr(predictor, "manifest", manifest)
    training, data = labelled(100, "train", 0), labelled(40, "test", 1)
    found = measure_budget(predictor, training, data, (1, 4))
    outputs = predictor.predict(data.images)
    weights = routing_weights(outputs.routing, hard)
    for row, per_class in enumerate((1, 4)):
        for seed in (0, DRAWS - 1):
            draw = draw_reference(training.labels, per_class, seed)
            fitted_on = predictor.predict(training.images[draw])
            class_map = fit_class_map(
                routing_weights(fitted_on.routing, hard), fitted_on.expert_probability, training.labels[draw], 10
            )
            p = outputs.expert_probability
            classes = (weights * p) @ class_map[:, 1] + (weights * (1 - p)) @ class_map[:, 0]
            assert found.accuracy[row, seed] == np.mean(classes.argmax(axis=1) == data.labels)
    assert len(np.unique(found.accuracy)) > 1  # the draws differ


def test_mean_and_spread_are_those_of_the_standard_library() -> None:
    accuracy = np.random.default_rng(0).random((1, DRAWS))
    (row,) = ReferenceBudget("made-up:train", (3,), accuracy).rows()
    values = accuracy[0].tolist()
    expected = {"per_class": 3, "mean": statistics.mean(values), "sd": statistics.stdev(values)}
    assert row == pytest.approx(expected | {"min": min(values), "max": max(values)})


def test_more_than_a_class_has_is_refused() -> None:
    training = labelled(95, "train", 0)  # ten of each digit up to 4, nine of the others
    check_budgets((1, 9), training)
    message = "asks for 10 images of each class, but the training split of made-up has 9 of class '5'; ask for no more"
    with pytest.raises(UserError, match=message):
        check_budgets((1, 10), training)
