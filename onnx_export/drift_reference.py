"""The reference that live traffic is compared with, from images of the training split; no label is used."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import DriftReference
from clustnet.bundles.drift import Observed, reference_of
from clustnet.datasets import LabelledImages
from onnx_export.fitting import spread
from onnx_export.graphs import Mixture, predict


def fit_drift_reference(
    mixture: Mixture,
    membership: NDArray[np.bool_],
    validation_images: int,
    train: LabelledImages,
    pixels: Callable[[LabelledImages], Iterable[NDArray[np.uint8]]],
) -> DriftReference:
    """Return counts of the model's answers for images that it was trained without.

    If a run held out no validation images, there are only images that it was trained with. Then the counts are of those
    that the confidence's means were not fitted on, as for the threshold of abstention.

    Args:
        mixture: the whole model, in evaluation mode.
        membership: bool [K, C] whether each subtype belongs to each coarse label.
        validation_images: how many images training held out; they are the last of the training split.
        train: the training split.
        pixels: returns the images of a part of that split, some at a time; for embeddings, the images behind them.
    """
    indices, held_out = np.arange(len(train)), validation_images > 0
    some = spread(train.take(indices[-validation_images:])) if held_out else spread(train)
    seen = some if held_out else some.take(np.arange(len(some))[1::2])
    observed = Observed.of([predict(mixture, seen.images)], pixels(seen), membership)
    data = f"{train.name}:{train.split}"
    return reference_of(observed, len(mixture.class_map), len(membership[0]), data, held_out)
