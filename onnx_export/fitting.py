"""What is fitted on a trained model: class map, temperature, confidence and the threshold of the confidence."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clustnet.bundles.bundle import Abstention, Calibration
from clustnet.bundles.calibration import fit_temperature
from clustnet.bundles.class_map import class_probability
from clustnet.datasets import LabelledImages
from clustnet.scores.scores import cells
from onnx_export.class_map import Subtypes, subtypes_of_cells, subtypes_of_references
from onnx_export.confidence import Confidence, fit_confidence, route_with_features, threshold
from onnx_export.graphs import Mixture
from onnx_export.reviewed import Reviewed, subtypes_of_review
from training.models.embedding_mixture import EmbeddingMixture, held_out_rest
from training.models.inference import Routed
from training.models.mixture import GatedExperts
from training.recipe.recipe import Reference

# Everything but the class map of reference images is fitted on at least this many training images, or else on all.
MIN_FITTED_IMAGES = 10_000
# Share of training images under the threshold.
ABSTAINED = 0.01


@dataclass(frozen=True)
class Fitted:
    """Everything that turns a trained model into a bundle; ``notes`` say what the review has that the model lacks."""

    subtypes: Subtypes
    calibration: Calibration
    confidence: Confidence
    abstention: Abstention
    notes: tuple[str, ...] = ()

    def mixture(self, model: GatedExperts, hard: bool) -> Mixture:
        """Return the whole model, in evaluation mode; ``hard`` if one expert alone decides."""
        class_map = torch.from_numpy(self.subtypes.class_map.array())
        return Mixture(model, class_map, hard, self.calibration.temperature, self.confidence).eval()


def fit(
    model: GatedExperts,
    hard: bool,
    reference: Reference,
    train: LabelledImages,
    named: LabelledImages | None,
    reviewed: Reviewed | None = None,
) -> Fitted:
    """Fit the class map on the reference images' classes, all else on the training split without fine labels.

    Args:
        model: the trained model.
        hard: whether one expert alone decides.
        reference: how many reference images are drawn from a training split.
        train: the training split.
        named: the images that may serve as reference images; None where no fine class is known, and then each cell in
            use is a subtype.
        reviewed: what a person said of the training images, if anything; it takes precedence over ``named``.

    Raises:
        UserError: a class has fewer training images than the recipe requests, or the review leaves a coarse label
            without a subtype that the model knows.
    """
    some = spread(train)
    routed, features = route_with_features(model, some.images, hard)
    if isinstance(model, EmbeddingMixture):
        features[:, model.rest_column] = held_out_rest(torch.from_numpy(some.images), model.rest_column)
    notes: list[str] = []
    if reviewed is not None:
        subtypes, notes = subtypes_of_review(routed, some, reviewed.take(every_few(train)))
    elif named is None:
        subtypes = subtypes_of_cells(routed, some)
    else:
        subtypes = subtypes_of_references(model, hard, reference, routed, named)
    confidence, abstention = fit_abstention(routed, features, f"{train.name}:{train.split}", model.rest_column)
    return Fitted(subtypes, fit_calibration(routed, subtypes, some), confidence, abstention, tuple(notes))


def fit_calibration(routed: Routed, subtypes: Subtypes, train: LabelledImages) -> Calibration:
    """Fit the temperature on the coarse labels of training images; with a single coarse label it is 1.

    Args:
        routed: the model's predictions for the images.
        subtypes: the subtypes and their class map.
        train: the images.
    """
    data = f"{train.name}:{train.split}"
    if len(train.coarse_labels) == 1:
        return Calibration(temperature=1.0, data=data, images=0)
    probability = class_probability(routed.weights, routed.expert_probability, subtypes.class_map.array())
    temperature = fit_temperature(probability, subtypes.membership(), train.coarse)
    return Calibration(temperature=temperature, data=data, images=len(train))


def fit_abstention(
    routed: Routed, features: Tensor, data: str, rest: int | None = None
) -> tuple[Confidence, Abstention]:
    """Fit the confidence on every second image, and the threshold on the others, so that neither flatters the other.

    Args:
        routed: the model's predictions for the images, at least 2 training images.
        features: float32 [N, D] of the same images.
        data: where they are from, for example ``mnist:train``.
        rest: as for ``fit_confidence``.
    """
    cell = cells(routed.routing, routed.coarse_probability)
    confidence = fit_confidence(features[::2], cell[::2], rest)
    others = confidence(features[1::2]).numpy()
    return confidence, Abstention(
        threshold=threshold(others, ABSTAINED),
        share=ABSTAINED,
        data=data,
        images=len(others),
    )


def spread(train: LabelledImages) -> LabelledImages:
    """Return images at even intervals, since the first ones may all be of one kind."""
    return train.take(every_few(train))


def every_few(train: LabelledImages) -> NDArray[np.int64]:
    """Return the places of images at even intervals, int64 [M]."""
    return np.arange(len(train))[:: max(1, len(train) // MIN_FITTED_IMAGES)]
