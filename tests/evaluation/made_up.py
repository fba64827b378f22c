"""Made-up evaluations of any size."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clustnet.bundles.answers import Answers, Model
from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets import LabelledImages
from evaluation.report.outliers import OUTLIER_SCORES, Outliers
from evaluation.report.reference_budget import DRAWS, ReferenceBudget
from evaluation.report.scoring import Evaluation, score

HALVES = CoarseGrouping(("0-4", "5-9"), ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)))
DIGITS = tuple("0123456789")


def answers_from(
    labels: np.ndarray, routing: np.ndarray, classes: np.ndarray, grouping: CoarseGrouping = HALVES
) -> Answers:
    """Answers whose coarse labels are right for every second image."""
    flipped = grouping.coarse(labels) ^ (np.arange(len(labels)) % 2)
    probability = np.linspace(0.5, 1, len(labels), dtype=np.float32)
    return Answers(
        Model("made-up", "1"),
        routing.astype(np.float32),
        np.array(grouping.labels)[flipped],
        probability,
        classes.astype(np.float32),
        probability[::-1],
        probability[::-1] < 0.6,
    )


def evaluation(
    images: int = 40,
    experts: int = 5,
    classes: Sequence[str] = DIGITS,
    grouping: CoarseGrouping = HALVES,
    shape: tuple[int, ...] = (28, 28),
    perfect: bool = False,
    seed: int = 0,
) -> Evaluation:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(classes), images)
    probability = generator.dirichlet(np.ones(len(classes)), images)
    answers = answers_from(
        labels,
        generator.dirichlet(np.ones(experts), images),
        np.eye(len(classes))[labels] if perfect else probability,
        grouping,
    )
    pictures = generator.integers(0, 256, (images, *shape), dtype=np.uint8)
    data = LabelledImages("made-up", "test", pictures, labels, tuple(classes), (0.5,), (0.5,))
    return Evaluation(data, answers, grouping, score(answers, labels, grouping), {"url": "http://x"})


def complete(made: Evaluation, others: Evaluation, budgets: tuple[int, ...] = (1, 10, 100)) -> Evaluation:
    """The same evaluation with everything that may be asked for beside it; ``others`` are the outliers."""
    sides = [{key: c.of(side.answers) for key, c in OUTLIER_SCORES.items()} for side in (made, others)]
    accuracy = np.random.default_rng(0).uniform(0.5, 1, (len(budgets), DRAWS))
    budget = ReferenceBudget("made-up:train", budgets, accuracy)
    return replace(made, outliers=Outliers(others.data, *sides, 0.25), budget=budget)
