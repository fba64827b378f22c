"""The value of labelled images: class accuracy with class maps fitted on random draws of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.class_map import cell_overlap, class_probability, draw_reference, fit_class_map, guesses
from clustnet.bundles.routing import Floats, coarse_probability
from clustnet.datasets import LabelledImages


class ExpertAnswers(NamedTuple):
    """The answers for N images on which a class map is fitted, or to which it is applied.

    Args:
        weights: [N, E] the experts' weights, rows summing to 1.
        expert_probability: [N, E, K] each expert's distribution over the coarse labels.
    """

    weights: Floats
    expert_probability: Floats

    def take(self, rows: NDArray[np.integer]) -> "ExpertAnswers":
        """Return the answers of the images at the indices, int [M]."""
        return ExpertAnswers(self.weights[rows], self.expert_probability[rows])

    def guesses(self, class_map: Floats, membership: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the guesses with a class map, int64 [N].

        Args:
            class_map: [E, K, C], rows summing to 1.
            membership: bool [K, C] whether each class belongs to each coarse label.
        """
        coarse = coarse_probability(self.weights, self.expert_probability)
        return guesses(coarse, class_probability(self.weights, self.expert_probability, class_map), membership)


class BudgetRow(NamedTuple):
    """The class accuracy over the draws of one budget: ``per_class`` labelled images of each class."""

    per_class: int
    mean: float
    sd: float
    least: float
    greatest: float


@dataclass(frozen=True)
class ReferenceBudget:
    """The class accuracy that each budget reaches.

    Args:
        data: the data from which the reference images were drawn, for example ``mnist:train``.
        per_class: the B budgets in labelled images per class, ascending.
        accuracy: float64 [B, draws] class accuracy with each draw's class map.
    """

    data: str
    per_class: tuple[int, ...]
    accuracy: NDArray[np.float64]

    @property
    def draws(self) -> int:
        """The number of draws of each budget."""
        return int(self.accuracy.shape[1])

    def rows(self) -> list[BudgetRow]:
        """Return each budget's mean, sample standard deviation, least and greatest accuracy."""
        columns = (
            self.accuracy.mean(axis=1),
            self.accuracy.std(axis=1, ddof=1),
            self.accuracy.min(axis=1),
            self.accuracy.max(axis=1),
        )
        figures = zip(*(column.tolist() for column in columns), strict=True)
        return [BudgetRow(budget, *row) for budget, row in zip(self.per_class, figures, strict=True)]


@dataclass(frozen=True)
class Draws:
    """Random draws of reference images, several of each budget.

    Args:
        training: the labelled images to draw from.
        per_class: the B budgets in labelled images per class, ascending.
        drawn: the draws of each budget, each int64 [budget * classes], indices of training images.
        pool: int64 [P], ascending indices of all drawn images; the model runs on these.
    """

    training: LabelledImages
    per_class: tuple[int, ...]
    drawn: list[list[NDArray[np.int64]]]
    pool: NDArray[np.int64]

    @classmethod
    def of(cls, training: LabelledImages, per_class: Sequence[int], count: int) -> "Draws":
        """Return random draws of reference images with the seeds 0 to ``count`` - 1.

        Args:
            training: images with at least ``max(per_class)`` of each class; those of unknown class are never drawn.
            per_class: the B budgets in labelled images per class, ascending.
            count: number of draws of each budget, at least 2.
        """
        drawn = [[draw_reference(training.fine, budget, seed) for seed in range(count)] for budget in per_class]
        pool = np.unique(np.concatenate([draw for draws in drawn for draw in draws]))
        return cls(training, tuple(per_class), drawn, pool)

    def measure(
        self,
        pooled: ExpertAnswers,
        scored: ExpertAnswers,
        truth: NDArray[np.integer],
        membership: NDArray[np.bool_],
    ) -> ReferenceBudget:
        """Return the class accuracy with a class map fitted on each draw, using the overlap of cells over the pool.

        Args:
            pooled: the answers of the model for the P images of the pool.
            scored: its answers for the N images that are scored, N at least 1.
            truth: [N] fine classes of the scored images, all known.
            membership: bool [K, C] whether each class belongs to each coarse label.
        """
        overlap = cell_overlap(*pooled)

        def accuracy(draw: NDArray[np.int64]) -> float:
            some = pooled.take(np.searchsorted(self.pool, draw))
            class_map = fit_class_map(*some, self.training.fine[draw], len(self.training.classes), overlap)
            return float((scored.guesses(class_map, membership) == truth).mean())

        measured = np.array([[accuracy(draw) for draw in draws] for draws in self.drawn])
        return ReferenceBudget(f"{self.training.name}:{self.training.split}", self.per_class, measured)
