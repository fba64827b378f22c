"""What is fitted on a trained model: class map, temperature, confidence and the threshold of the confidence."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clustnet.bundles.bundle import Abstention, Calibration, ClassMap
from clustnet.bundles.calibration import fit_temperature
from clustnet.bundles.class_map import class_probability, draw_reference, fit_class_map
from clustnet.datasets import LabelledImages
from clustnet.datasets.folder import REFERENCE
from clustnet.errors import UserError
from clustnet.scores.scores import cells
from onnx_export.confidence import Confidence, fit_confidence, route_with_features, threshold
from onnx_export.graphs import Mixture
from training.data.data import load_reference
from training.models.inference import Routed, route
from training.models.mixture import GatedExperts
from training.recipe.recipe import Recipe, Reference

IMAGES = 10_000  # at least so many training images, where there are, fit all but the class map
ABSTAINED = 0.01  # share of training images under the threshold


@dataclass(frozen=True)
class Fitted:
    """Everything that makes a bundle of a trained model."""

    class_map: ClassMap
    calibration: Calibration
    confidence: Confidence
    abstention: Abstention

    def mixture(self, model: GatedExperts, hard: bool) -> Mixture:
        """Return the whole model, in evaluation mode; ``hard`` if one expert alone decides."""
        class_map = torch.from_numpy(self.class_map.array())
        return Mixture(model, class_map, hard, self.calibration.temperature, self.confidence).eval()


def fit(model: GatedExperts, recipe: Recipe, train: LabelledImages) -> Fitted:
    """Fit the class map on the reference images' classes, all else on the training split without fine labels.

    Raises:
        UserError: a class has fewer training images than the recipe asks for.
    """
    class_map = fit_reference(model, recipe, load_reference(recipe.data, train))
    some = spread(train)
    routed, features = route_with_features(model, some.images, recipe.routing == "hard")
    coarse = recipe.data.grouping().coarse(some.labels)
    data = f"{train.name}:{train.split}"
    confidence, abstention = fit_abstention(routed, features, data)
    return Fitted(class_map, fit_calibration(routed, recipe, class_map, coarse, data), confidence, abstention)


def fit_reference(model: GatedExperts, recipe: Recipe, named: LabelledImages) -> ClassMap:
    """Fit the class map on the labels of reference images: all of ``reference/``, or some drawn from a training split.

    Raises:
        UserError: a class has fewer training images than the recipe asks for.
    """
    indices = np.arange(len(named)) if named.split == REFERENCE else _drawn(named, recipe.reference)
    routed = route(model, named.images[indices], recipe.routing == "hard")
    sizes = (len(named.classes), len(recipe.data.grouping().labels))
    fitted = fit_class_map(routed.weights, routed.expert_probability, named.labels[indices], *sizes)
    return ClassMap(
        values=fitted.tolist(),
        data=f"{named.name}:{named.split}",
        reference_images=len(indices),
        reference_indices=indices.tolist(),
    )


def _drawn(train: LabelledImages, reference: Reference) -> NDArray[np.int64]:
    """Draw as many images of each class as the recipe asks for; return their indices."""
    counts = np.bincount(train.labels, minlength=len(train.classes))
    if counts.min() < reference.per_class:
        raise UserError(
            f"The class {train.classes[counts.argmin()]!r} has {counts.min()} training images, but "
            f"reference.per_class asks for {reference.per_class}; lower it or train on more images."
        )
    return draw_reference(train.labels, reference.per_class, reference.seed)


def fit_calibration(
    routed: Routed, recipe: Recipe, class_map: ClassMap, coarse: NDArray[np.integer], data: str
) -> Calibration:
    """Fit the temperature on N training images; without coarse labels it is 1.

    Args:
        routed: what the model says of them.
        recipe: the recipe of the run.
        class_map: the class map.
        coarse: [N] their coarse labels, 0 or 1.
        data: where they are from, for example ``mnist:train``.
    """
    if not recipe.data.grouping().divided:
        return Calibration(temperature=1.0, data=data, images=0)
    probability = class_probability(routed.weights, routed.expert_probability, class_map.array())
    temperature = fit_temperature(probability, recipe.data.grouping(), coarse)
    return Calibration(temperature=temperature, data=data, images=len(coarse))


def fit_abstention(routed: Routed, features: Tensor, data: str) -> tuple[Confidence, Abstention]:
    """Fit the confidence on every second image, and the threshold on the others, so that neither flatters the other.

    Args:
        routed: what the model says of the images, at least 2 training images.
        features: float32 [N, D] of the same images.
        data: where they are from, for example ``mnist:train``.
    """
    cell = cells(routed.routing, routed.positive_probability)
    confidence = fit_confidence(features[::2], cell[::2])
    others = confidence(features[1::2]).numpy()
    return confidence, Abstention(
        threshold=threshold(others, ABSTAINED),
        share=ABSTAINED,
        data=data,
        images=len(others),
    )


def spread(train: LabelledImages) -> LabelledImages:
    """Return every so many-th image, since the first alone may be of one kind."""
    step = max(1, len(train) // IMAGES)
    return replace(train, images=train.images[::step], labels=train.labels[::step])
