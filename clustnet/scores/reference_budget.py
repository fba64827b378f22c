"""What labelled images buy: the class accuracy with class maps that are fitted on random draws of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.class_map import class_probability, draw_reference, fit_class_map
from clustnet.bundles.routing import Floats


class ExpertAnswers(NamedTuple):
    """What a class map is fitted on and applied to, of N images.

    Args:
        weights: [N, E] the experts' weights, rows summing to 1.
        probability: [N, E] each expert's probability of the positive coarse label.
    """

    weights: Floats
    probability: Floats


@dataclass(frozen=True)
class Draws:
    """Random draws of reference images, several of each budget.

    Args:
        drawn: for each budget its draws, each int64 [budget * classes], indices of training images.
        pool: int64 [P] the images of all draws together, rising: what a model has to answer.
    """

    drawn: list[list[NDArray[np.int64]]]
    pool: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.integer], per_class: Sequence[int], count: int) -> "Draws":
        """Draw reference images, seeds 0 to ``count`` - 1.

        Args:
            labels: [N] fine classes of the training split, at least ``max(per_class)`` of each.
            per_class: the B budgets, labelled images of each class.
            count: draws of each budget.
        """
        drawn = [[draw_reference(labels, budget, seed) for seed in range(count)] for budget in per_class]
        return cls(drawn, np.unique(np.concatenate([draw for draws in drawn for draw in draws])))

    def accuracy(
        self,
        pooled: ExpertAnswers,
        labels: NDArray[np.integer],
        scored: ExpertAnswers,
        truth: NDArray[np.integer],
        classes: int,
    ) -> NDArray[np.float64]:
        """Fit a class map on each draw and return the class accuracy that it reaches, float64 [B, draws].

        Args:
            pooled: what the model says of the P images of the pool.
            labels: [N] fine classes of the training split, of which only those of the pool are read.
            scored: what it says of the images that are scored, at least one.
            truth: their fine classes.
            classes: C, the number of fine classes.
        """

        def accuracy(draw: NDArray[np.int64]) -> float:
            rows = np.searchsorted(self.pool, draw)
            class_map = fit_class_map(pooled.weights[rows], pooled.probability[rows], labels[draw], classes)
            guess = class_probability(scored.weights, scored.probability, class_map).argmax(axis=1)
            return float((guess == truth).mean())

        return np.array([[accuracy(draw) for draw in draws] for draws in self.drawn])
