"""How well a model's confidence tells images of another kind from those it was made for.

An energy (Liu et al., arXiv:2010.03759) is not among the confidences: it needs the logits' sum, which probabilities
have lost.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.routing import routing_entropy
from clustnet.scores import auroc
from evaluation.sources import Answers, Source, answer_all, check_one_model


class Confidence(NamedTuple):
    """A number that is higher for the images a model is surer of, computed from its answers alone."""

    title: str
    text: str
    of: Callable[[Answers], NDArray[np.floating]]


CONFIDENCES = {
    "own": Confidence(
        "The model's own confidence",
        "How near the image is to the training images by the gate's embedding and the experts' logits "
        "(after Lee et al., arXiv:1807.03888); the model abstains where it is low.",
        lambda answers: answers.own_confidence,
    ),
    "guess": Confidence(
        "Top class probability",
        "The probability of the guess (Hendrycks and Gimpel, arXiv:1610.02136).",
        lambda answers: answers.confidence,
    ),
    "class_entropy": Confidence(
        "Class entropy",
        "Negative entropy of the class probabilities.",
        lambda answers: -routing_entropy(answers.class_probability),
    ),
    "routing_entropy": Confidence(
        "Routing entropy",
        "Negative entropy of the routing distribution.",
        lambda answers: -routing_entropy(answers.routing),
    ),
    "coarse": Confidence(
        "Coarse probability",
        "The probability of the predicted coarse label.",
        lambda answers: answers.coarse_probability,
    ),
    "cell": Confidence(
        "Top cell probability",
        "The probability of the chosen expert times that of the predicted coarse label.",
        lambda answers: answers.routing.max(axis=1) * answers.coarse_probability,
    ),
}


@dataclass(frozen=True)
class Outliers:
    """What the report tells of images that the model was not made for.

    Args:
        data: the M outliers; their labels mean nothing here.
        inliers: for each key of ``CONFIDENCES``, [N] the confidence in the evaluated images.
        outliers: likewise, [M] the confidence in the outliers.
        abstained: the share of the outliers that the model would rather not answer.
    """

    data: LabelledImages
    inliers: dict[str, NDArray[np.floating]]
    outliers: dict[str, NDArray[np.floating]]
    abstained: float

    @property
    def auroc(self) -> dict[str, float]:
        """For each confidence, how well it tells the two apart: 0.5 chance, 1 perfectly."""
        return {key: auroc(self.inliers[key], self.outliers[key]) for key in self.inliers}


def check_outliers(outliers: LabelledImages, data: LabelledImages) -> None:
    """Check before any inference that a model of the data's images can read the outliers.

    Raises:
        UserError: no outliers, or images of another shape.
    """
    if len(outliers) == 0:
        raise UserError(f"The split {outliers.split} of {outliers.name} holds no images; name other --outliers.")
    ours, theirs = (list(images.images.shape[1:]) for images in (data, outliers))
    if ours != theirs:
        raise UserError(
            f"The outliers of {outliers.name} are images of {theirs}, but those of {data.name} are of {ours}; "
            "name --outliers of the same shape."
        )


def compare_outliers(
    source: Source,
    inliers: Answers,
    outliers: LabelledImages,
    progress: Callable[[range], Iterable[int]] = iter,
) -> Outliers:
    """Let a source answer outliers and compare its confidence in them with that in the evaluated images.

    Args:
        source: who answers.
        inliers: what it said about the N evaluated images.
        outliers: M images of another kind, at least one.
        progress: wraps the first index of each batch, to show how far it is.

    Raises:
        UserError: the source cannot answer them, or changed its model since.
    """
    answers = answer_all(source, outliers.images, progress)
    check_one_model([inliers, answers])
    ours, theirs = (
        {key: confidence.of(side) for key, confidence in CONFIDENCES.items()} for side in (inliers, answers)
    )
    return Outliers(outliers, ours, theirs, float(answers.abstain.mean()))
