"""The tables behind a bundle's scores: confusions, experts by class, and what labelled images buy."""

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.evaluation_file import BudgetCurve, BudgetPoint, BundleEvaluation
from clustnet.bundles.predictor import Predictions
from clustnet.bundles.routing import routing_weights
from clustnet.datasets import LabelledImages
from clustnet.scores.reference_budget import Draws, ExpertAnswers
from training.models.inference import route
from training.models.mixture import GatedExperts
from training.recipe.recipe import Recipe

BUDGETS = (1, 2, 5, 10, 20, 50)  # labelled images of each class
DRAWS = 10


def evaluate(
    found: Predictions, test: LabelledImages, model: GatedExperts, recipe: Recipe, train: LabelledImages
) -> BundleEvaluation:
    """Return the tables of one trained model.

    Args:
        found: what it says of the test images.
        test: the test split.
        model: the trained mixture.
        recipe: the recipe of the run.
        train: the labelled images from which those of a budget are drawn.
    """
    classes = len(test.classes)
    return BundleEvaluation(
        data=f"{test.name}:{test.split}",
        images=len(test),
        seed=recipe.seed,
        confusion=_counts(test.labels, found.class_probability.argmax(axis=1), classes, classes),
        experts=_counts(found.routing.argmax(axis=1), test.labels, found.routing.shape[1], classes),
        budget=measure_budget(found, test, model, recipe, train),
    )


def measure_budget(
    found: Predictions, test: LabelledImages, model: GatedExperts, recipe: Recipe, train: LabelledImages
) -> BudgetCurve:
    """Refit the class map on ``DRAWS`` draws, seeds 0 to ``DRAWS`` - 1, of each budget that the classes can fill.

    Args: as ``evaluate``.
    """
    fewest = np.unique(train.labels, return_counts=True)[1].min()  # of the classes that there are
    budgets = [budget for budget in BUDGETS if budget <= fewest]
    draws, hard = Draws.of(train.labels, budgets, DRAWS), recipe.routing == "hard"
    routed = route(model, train.images[draws.pool], hard)
    pooled = ExpertAnswers(routed.weights, routed.expert_probability)
    scored = ExpertAnswers(routing_weights(found.routing, hard), found.expert_probability)
    measured = draws.accuracy(pooled, train.labels, scored, test.labels, len(train.classes)).tolist()
    points = [_point(budget, values) for budget, values in zip(budgets, measured, strict=True)]
    return BudgetCurve(data=f"{train.name}:{train.split}", draws=DRAWS, points=points)


def _point(budget: int, values: list[float]) -> BudgetPoint:
    return BudgetPoint(per_class=budget, mean=float(np.mean(values)), least=min(values), greatest=max(values))


def _counts(row: NDArray[np.integer], column: NDArray[np.integer], rows: int, columns: int) -> list[list[int]]:
    """Count the pairs of ``row`` and ``column``, both [N], in a table of ``rows`` x ``columns``."""
    table: list[list[int]] = np.bincount(row * columns + column, minlength=rows * columns).reshape(rows, -1).tolist()
    return table
