from pathlib import Path

import numpy as np
import pytest

from clustnet.datasets import LabelledImages
from onnx_export.class_map import subtypes_of_references
from tests.training.tiny import tiny_recipe
from training.models.inference import route
from training.runs.references import class_accuracy, references
from training.runs.run_folder import RunFolder


def test_references_are_those_of_an_export(finished_run: Path, mnist_train: LabelledImages) -> None:
    recipe, model = tiny_recipe({"reference.per_class": 3}), RunFolder(finished_run).load_network()
    named = references(recipe, mnist_train)
    assert named is not None
    routed = route(model, mnist_train.images[:50], False)
    exported = subtypes_of_references(model, False, recipe.reference, routed, mnist_train).class_map
    np.testing.assert_array_equal(named.images, mnist_train.images[exported.reference_indices])
    np.testing.assert_array_equal(np.bincount(named.fine), [3] * 10)


def test_too_few_images_give_no_references(mnist_train: LabelledImages) -> None:
    assert references(tiny_recipe({"reference.per_class": 500}), mnist_train) is None


@pytest.mark.parametrize("hard", [False, True])
def test_class_accuracy_counts_right_guesses(finished_run: Path, mnist_train: LabelledImages, hard: bool) -> None:
    model = RunFolder(finished_run).load_network()
    named, split = mnist_train.take(np.arange(200)), mnist_train.take(np.arange(200, 600))
    train, routed = route(model, named.images, hard), route(model, split.images, hard)
    found = class_accuracy(model, hard, named, train, routed, split)
    assert 0.1 < found < 1
    # A class that no image has is never right.
    shifted = split.take(np.flatnonzero(split.fine == 3))
    alone = class_accuracy(model, hard, named, train, route(model, shifted.images, hard), shifted)
    assert alone * len(shifted) == pytest.approx(round(alone * len(shifted)))
