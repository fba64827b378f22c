"""How well a model's answers separate images of another kind from those it was made for.

The energy (Liu et al., arXiv:2010.03759) is not among the scores: it needs the log-sum-exp of the logits, which cannot
be computed from probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.answers import Answers
from clustnet.bundles.routing import routing_entropy
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.scores.scores import auroc
from evaluation.sources.sources import Progress, Source, answer_all


class OutlierScore(NamedTuple):
    """A number that should be higher for the images a model was made for, computed from its answers alone."""

    title: str
    text: str
    of: Callable[[Answers], NDArray[np.floating]]


OUTLIER_SCORES = {
    "confidence": OutlierScore(
        "Confidence",
        "How similar the image is to the training images by the gate's embedding and the experts' logits "
        "(after Lee et al., arXiv:1807.03888); the model abstains where it is low.",
        lambda answers: answers.confidence,
    ),
    "guess": OutlierScore(
        "Top class probability",
        "The probability of the guess (Hendrycks and Gimpel, arXiv:1610.02136).",
        lambda answers: answers.guess_probability,
    ),
    "class_entropy": OutlierScore(
        "Class entropy",
        "Negative entropy of the class probabilities.",
        lambda answers: -routing_entropy(answers.class_probability),
    ),
    "routing_entropy": OutlierScore(
        "Routing entropy",
        "Negative entropy of the routing distribution.",
        lambda answers: -routing_entropy(answers.routing),
    ),
    "coarse": OutlierScore(
        "Coarse probability",
        "The probability of the predicted coarse label.",
        lambda answers: answers.coarse_probability.max(axis=1),
    ),
    "cell": OutlierScore(
        "Top cell probability",
        "The probability of the chosen expert times the probability of the predicted coarse label.",
        lambda answers: answers.routing.max(axis=1) * answers.coarse_probability.max(axis=1),
    ),
}


@dataclass(frozen=True)
class Outliers:
    """How the answers for images that the model was not made for compare with those for the evaluated images.

    Args:
        data: the M outliers; their labels mean nothing here.
        inliers: for each key of ``OUTLIER_SCORES``, [N] the score of the evaluated images.
        outliers: likewise, [M] the score of the outliers.
        abstained: the share of the outliers that the model abstains from.
    """

    data: LabelledImages
    inliers: dict[str, NDArray[np.floating]]
    outliers: dict[str, NDArray[np.floating]]
    abstained: float

    @property
    def auroc(self) -> dict[str, float]:
        """How well each score separates the two, by its key: 0.5 is chance, 1 is perfect."""
        return {key: auroc(self.inliers[key], self.outliers[key]) for key in self.inliers}


def check_outliers(outliers: LabelledImages, data: LabelledImages) -> None:
    """Raise, before any inference, if a model of the data's images cannot read the outliers.

    Raises:
        UserError: there are no outliers, or they have another shape.
    """
    if len(outliers) == 0:
        raise UserError(f"The split {outliers.split} of {outliers.name} holds no images; name other --outliers.")
    ours, theirs = (list(images.images.shape[1:]) for images in (data, outliers))
    if ours != theirs:
        raise UserError(
            f"The outliers of {outliers.name} are images of {theirs}, but those of {data.name} are of {ours}; "
            "name --outliers of the same shape."
        )


def compare_outliers(source: Source, inliers: Answers, outliers: LabelledImages, progress: Progress = iter) -> Outliers:
    """Let a source answer outliers and compare their scores with those of the evaluated images.

    With one coarse label the score of the coarse label is left out.

    Args:
        source: what answers.
        inliers: what it answered for the N evaluated images.
        outliers: M images of another kind, at least one.
        progress: wraps the first index of each batch, to show progress.

    Raises:
        UserError: the source cannot answer them.
    """
    answers = answer_all(source, outliers.images, progress)
    keys = [key for key in OUTLIER_SCORES if key != "coarse" or source.info.grouping.divided]
    ours, theirs = ({key: OUTLIER_SCORES[key].of(some) for key in keys} for some in (inliers, answers))
    return Outliers(outliers, ours, theirs, float(answers.abstain.mean()))
