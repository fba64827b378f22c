"""Class accuracy against the number of labelled training images that name the discovered groups."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.predictor import Predictor
from clustnet.bundles.routing import routing_weights
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.scores.reference_budget import Draws, ExpertAnswers
from evaluation.sources.sources import BATCH

DRAWS = 20


@dataclass(frozen=True)
class ReferenceBudget:
    """The accuracy that each budget reaches.

    Args:
        training: the split that reference images were drawn from, for example ``mnist:train``.
        per_class: the B budgets, labelled images of each class, rising.
        accuracy: float64 [B, DRAWS] class accuracy with each draw's class map.
    """

    training: str
    per_class: tuple[int, ...]
    accuracy: NDArray[np.float64]

    def rows(self) -> list[dict[str, float]]:
        """Return for each budget the mean, sample standard deviation, least and greatest accuracy."""
        return [
            {
                "per_class": budget,
                "mean": float(row.mean()),
                "sd": float(row.std(ddof=1)),
                "min": float(row.min()),
                "max": float(row.max()),
            }
            for budget, row in zip(self.per_class, self.accuracy, strict=True)
        ]


def check_budgets(per_class: Sequence[int], training: LabelledImages) -> None:
    """Check before any inference that the training split has the images to draw.

    Raises:
        UserError: a class has fewer images than a budget asks for.
    """
    held = np.bincount(training.labels, minlength=len(training.classes))
    scarce = int(held.argmin())
    if max(per_class) > held[scarce]:
        raise UserError(
            f"--reference-budget asks for {max(per_class):,} images of each class, but the training split of "
            f"{training.name} has {held[scarce]:,} of class {training.classes[scarce]!r}; ask for no more than that."
        )


def measure_budget(
    predictor: Predictor,
    training: LabelledImages,
    data: LabelledImages,
    per_class: Sequence[int],
    progress: Callable[[range], Iterable[int]] = iter,
) -> ReferenceBudget:
    """Refit the class map on ``DRAWS`` random draws of each budget and score each map.

    Gate and experts run once over the images of all draws together, seeds 0 to ``DRAWS`` - 1, and once over
    the scored ones.

    Args:
        predictor: the bundle whose class map is refitted.
        training: labelled images to draw from, at least ``max(per_class)`` of each class.
        data: the images that are scored, N at least 1.
        per_class: the budgets, labelled images of each class.
        progress: wraps the first index of each batch, to show how far it is.
    """
    draws = Draws.of(training.labels, per_class, DRAWS)
    answers = _answer(predictor, np.concatenate([training.images[draws.pool], data.images]), progress)
    pooled, scored = (
        ExpertAnswers(*(array[rows] for array in answers))
        for rows in (slice(len(draws.pool)), slice(len(draws.pool), None))
    )
    measured = draws.accuracy(pooled, training.labels, scored, data.labels, len(data.classes))
    return ReferenceBudget(f"{training.name}:{training.split}", tuple(per_class), measured)


def _answer(
    predictor: Predictor, images: NDArray[np.uint8], progress: Callable[[range], Iterable[int]]
) -> ExpertAnswers:
    starts = range(0, len(images), BATCH)
    parts = [predictor.predict(images[start : start + BATCH], BATCH) for start in progress(starts)]
    routing = np.concatenate([part.routing for part in parts])
    weights = routing_weights(routing, predictor.manifest.routing == "hard")
    return ExpertAnswers(weights, np.concatenate([part.expert_probability for part in parts]))
