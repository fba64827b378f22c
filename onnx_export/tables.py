"""The tables behind a bundle's scores: confusions, experts by class, and what labelled images buy."""

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.class_map import guesses
from clustnet.bundles.evaluation_file import BudgetCurve, BudgetPoint, BundleEvaluation
from clustnet.bundles.predictor import Predictions
from clustnet.bundles.routing import routing_weights
from clustnet.datasets import LabelledImages
from clustnet.scores.reference_budget import Draws, ExpertAnswers
from clustnet.scores.scores import count_table
from training.models.inference import route
from training.models.mixture import GatedExperts
from training.recipe.recipe import BaseRecipe

# Labelled images of each class.
BUDGETS = (1, 2, 5, 10, 20, 50)
DRAWS = 10


def evaluate(
    found: Predictions,
    test: LabelledImages,
    model: GatedExperts,
    recipe: BaseRecipe,
    named: LabelledImages,
    membership: NDArray[np.bool_],
) -> BundleEvaluation:
    """Return the tables of one trained model.

    Args:
        found: its predictions for the test images.
        test: the test split, whose fine classes are all known.
        model: the trained model.
        recipe: the recipe of the run.
        named: the labelled images from which those of a budget are drawn.
        membership: bool [K, C] whether each class belongs to each coarse label.
    """
    classes, experts = len(test.classes), found.routing.shape[1]
    guess = guesses(found.coarse_probability, found.class_probability, membership)
    return BundleEvaluation(
        data=f"{test.name}:{test.split}",
        images=len(test),
        seed=recipe.seed,
        confusion=count_table((test.fine, guess), (classes, classes)).tolist(),
        experts=count_table((found.routing.argmax(axis=1), test.fine), (experts, classes)).tolist(),
        budget=measure_budget(found, test, model, recipe.hard, named, membership),
    )


def measure_budget(
    found: Predictions,
    test: LabelledImages,
    model: GatedExperts,
    hard: bool,
    named: LabelledImages,
    membership: NDArray[np.bool_],
) -> BudgetCurve:
    """Return the class accuracy of each budget that the classes allow, over ``DRAWS`` draws, seeds 0 to ``DRAWS`` - 1.

    The arguments are those of ``evaluate``; ``hard`` says whether one expert alone decides.
    """
    # Classes without images do not count.
    fewest = np.unique(named.fine, return_counts=True)[1].min()
    draws = Draws.of(named, [budget for budget in BUDGETS if budget <= fewest], DRAWS)
    routed = route(model, named.images[draws.pool], hard)
    pooled = ExpertAnswers(routed.weights, routed.expert_probability)
    scored = ExpertAnswers(routing_weights(found.routing, hard), found.expert_probability)
    measured = draws.measure(pooled, scored, test.fine, membership)
    points = [
        BudgetPoint(per_class=row.per_class, mean=row.mean, least=row.least, greatest=row.greatest)
        for row in measured.rows()
    ]
    return BudgetCurve(data=measured.data, draws=DRAWS, points=points)
