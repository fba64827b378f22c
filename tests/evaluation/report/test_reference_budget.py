from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.class_map import cell_overlap, class_probability, draw_reference, fit_class_map, guesses
from clustnet.bundles.groups import UNKNOWN
from clustnet.bundles.predictor import Predictions, Predictor
from clustnet.bundles.routing import routing_weights
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from evaluation.report.reference_budget import DRAWS, check_budgets, reference_budget
from tests.evaluation.made_up import DIGITS, HALVES
from tests.synthetic import write_bundle


def labelled(images: int, split: str, seed: int) -> LabelledImages:
    """Random images of each digit in turn, their digit in the first pixel."""
    fine = np.arange(images) % 10
    pictures = np.random.default_rng(seed).integers(0, 256, (images, 28, 28), dtype=np.uint8)
    pictures[:, 0, 0] = fine
    return LabelledImages.of_classes("made-up", split, pictures, fine, DIGITS, (0.5,), (0.5,))


class Reader:
    """Reads the digit from the first pixel: each expert has one digit of each coarse label."""

    manifest = SimpleNamespace(routing="soft", membership=HALVES.membership)

    def __init__(self) -> None:
        self.seen = 0

    def predict(self, images: np.ndarray, batch_size: int) -> Predictions:
        self.seen += len(images)
        digit = images[:, 0, 0]
        coarse = np.eye(2, dtype=np.float32)[(digit > 4).astype(int)]
        experts = np.repeat(coarse[:, None], 5, axis=1)
        routing, classes = np.eye(5, dtype=np.float32)[digit % 5], np.eye(10, dtype=np.float32)[digit]
        return Predictions(coarse, routing, experts, classes, np.ones(len(images), np.float32))


def test_one_image_of_each_class_is_enough() -> None:
    reader, training = Reader(), labelled(200, "train", 0)
    found = reference_budget(reader, training, labelled(30, "test", 1), (1, 2))  # type: ignore[arg-type]
    assert found.data == "made-up:train"
    assert found.per_class == (1, 2)
    np.testing.assert_array_equal(found.accuracy, np.ones((2, DRAWS)))
    # The images of no draw are left out.
    assert reader.seen < 230


def test_images_of_unknown_class_are_not_scored() -> None:
    training, data = labelled(200, "train", 0), labelled(30, "test", 1)
    half = replace(data, fine=np.where(np.arange(30) < 15, data.fine, UNKNOWN))
    found = reference_budget(Reader(), training, half, (1,))  # type: ignore[arg-type]
    assert (found.accuracy == 1).all()


@pytest.mark.parametrize(("hard", "coarse"), [(False, 2), (True, 2), (False, 1), (True, 3)])
def test_each_draw_is_scored_as_by_hand(tmp_path: object, hard: bool, coarse: int) -> None:
    predictor = Predictor(Bundle(write_bundle(tmp_path / "bundle", hard=hard, coarse=coarse)), "cpu")  # type: ignore[operator]
    training, data, membership = labelled(100, "train", 0), labelled(40, "test", 1), predictor.manifest.membership()
    found = reference_budget(predictor, training, data, (1, 4))
    outputs = predictor.predict(data.images)
    weights = routing_weights(outputs.routing, hard)
    pool = np.unique([draw_reference(training.fine, 4, seed) for seed in range(DRAWS)])
    pool = np.union1d(pool, [draw_reference(training.fine, 1, seed) for seed in range(DRAWS)])
    pooled = predictor.predict(training.images[pool])
    overlap = cell_overlap(routing_weights(pooled.routing, hard), pooled.expert_probability)
    for row, per_class in enumerate((1, 4)):
        for seed in (0, DRAWS - 1):
            draw = draw_reference(training.fine, per_class, seed)
            fitted_on = predictor.predict(training.images[draw])
            fitted_weights = routing_weights(fitted_on.routing, hard)
            class_map = fit_class_map(fitted_weights, fitted_on.expert_probability, training.fine[draw], 10, overlap)
            classes = class_probability(weights, outputs.expert_probability, class_map)
            guess = guesses(outputs.coarse_probability, classes, membership)
            assert found.accuracy[row, seed] == np.mean(guess == data.fine)
    # The draws differ.
    assert len(np.unique(found.accuracy)) > 1


def test_more_than_a_class_has_is_refused() -> None:
    # There are ten of each digit up to 4, nine of the others.
    training, data = labelled(95, "train", 0), labelled(10, "test", 1)
    check_budgets((1, 9), training, data)
    message = "requests 10 images of each class, but the train images of made-up have 9 of class '5'; request no more"
    with pytest.raises(UserError, match=message):
        check_budgets((1, 10), training, data)


def test_images_without_classes_have_no_budget() -> None:
    training, data = labelled(95, "train", 0), labelled(10, "test", 1)
    with pytest.raises(UserError, match="true class of no image of made-up is known; leave it out, or sort"):
        check_budgets((1,), training, replace(data, fine=np.full(10, UNKNOWN)))
    with pytest.raises(UserError, match="the train images of made-up have no classes; leave it out"):
        check_budgets((1,), replace(training, classes=()), data)
