"""Class accuracy against the number of labelled training images that name the discovered subtypes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.groups import UNKNOWN
from clustnet.bundles.predictor import Predictor
from clustnet.bundles.routing import routing_weights
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.scores.reference_budget import Draws, ExpertAnswers, ReferenceBudget
from evaluation.sources.sources import BATCH, Progress

DRAWS = 20


def check_budgets(per_class: Sequence[int], training: LabelledImages, data: LabelledImages) -> None:
    """Raise, before any inference, if there are too few images to draw from, or none to score.

    Raises:
        UserError: a class has fewer training images than a budget needs, or no scored image has a known class.
    """
    if not (data.classes and (data.fine != UNKNOWN).any()):
        raise UserError(
            f"--reference-budget measures class accuracy, but the true class of no image of {data.name} is known; "
            "leave it out, or sort the images by class."
        )
    if not training.classes:
        raise UserError(
            f"--reference-budget draws labelled images, but the {training.split} images of {training.name} have no "
            "classes; leave it out."
        )
    held = np.bincount(training.fine[training.fine != UNKNOWN], minlength=len(training.classes))
    scarce = int(held.argmin())
    if max(per_class) > held[scarce]:
        raise UserError(
            f"--reference-budget requests {max(per_class):,} images of each class, but the {training.split} images of "
            f"{training.name} have {held[scarce]:,} of class {training.classes[scarce]!r}; request no more than that."
        )


def reference_budget(
    predictor: Predictor,
    training: LabelledImages,
    data: LabelledImages,
    per_class: Sequence[int],
    progress: Progress = iter,
) -> ReferenceBudget:
    """Refit the class map on ``DRAWS`` random draws of each budget and score each map.

    The draws use the seeds 0 to ``DRAWS`` - 1. Gate and experts run once on all drawn images and once on the scored
    images.

    Args:
        predictor: the bundle whose class map is refitted.
        training: labelled images to draw from, at least ``max(per_class)`` of each class.
        data: the images to score; only those of known class are scored, and there must be at least one.
        per_class: the budgets, labelled images of each class, rising.
        progress: wraps the first index of each batch, to show progress.
    """
    draws = Draws.of(training, per_class, DRAWS)
    known = data.take(np.flatnonzero(data.fine != UNKNOWN))
    answers = _answer(predictor, np.concatenate([training.images[draws.pool], known.images]), progress)
    pool = len(draws.pool)
    pooled, scored = answers.take(np.arange(pool)), answers.take(np.arange(pool, pool + len(known)))
    return draws.measure(pooled, scored, known.fine, predictor.manifest.membership())


def _answer(predictor: Predictor, images: NDArray[np.uint8], progress: Progress) -> ExpertAnswers:
    """Return the experts' answers for all images."""
    starts = range(0, len(images), BATCH)
    parts = [predictor.predict(images[start : start + BATCH], BATCH) for start in progress(starts)]
    routing = np.concatenate([part.routing for part in parts])
    weights = routing_weights(routing, predictor.manifest.routing == "hard")
    return ExpertAnswers(weights, np.concatenate([part.expert_probability for part in parts]))
