"""The reference that live traffic is compared with, from images of the training split; no label is used."""

from dataclasses import replace

from clustnet.bundles.bundle import DriftReference
from clustnet.bundles.drift import Observed, reference_of
from clustnet.datasets import LabelledImages
from onnx_export.fitting import spread
from onnx_export.graphs import Mixture, predict
from training.recipe.recipe import Recipe


def fit_reference_of_drift(mixture: Mixture, recipe: Recipe, train: LabelledImages) -> DriftReference:
    """Count the model's answers for images that it was trained without.

    A recipe that holds out no validation images leaves only those that it was trained with; then they are the ones that
    the confidence's means were not fitted on, as for the threshold of abstention.

    Args:
        mixture: the whole model, in evaluation mode.
        recipe: the recipe of the run.
        train: the training split, with the validation images at its end.
    """
    held_out = recipe.data.validation_images
    some = spread(_part(train, slice(-held_out, None))) if held_out else _part(spread(train), slice(1, None, 2))
    observed = Observed.of([predict(mixture, some.images)], [some.images])
    data = f"{train.name}:{train.split}"
    return reference_of(observed, len(mixture.class_map), len(train.classes), data, held_out > 0)


def _part(images: LabelledImages, part: slice) -> LabelledImages:
    return replace(images, images=images.images[part], labels=images.labels[part])
