"""Made-up evaluations of any size."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from clustnet.bundles.answers import Answers, ModelName
from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.class_map import guesses
from clustnet.bundles.groups import UNKNOWN, CoarseGrouping
from clustnet.datasets import LabelledImages
from clustnet.scores.reference_budget import ReferenceBudget
from evaluation.report.outliers import OUTLIER_SCORES, Outliers
from evaluation.report.reference_budget import DRAWS
from evaluation.report.scoring import Evaluation
from evaluation.sources.sources import ModelInfo

WHOLE = CoarseGrouping.whole(10)
HALVES = CoarseGrouping(("0-4", "5-9"), ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)))
THIRDS = CoarseGrouping(("0-3", "4-6", "7-9"), ((0, 1, 2, 3), (4, 5, 6), (7, 8, 9)))
GROUPINGS = (WHOLE, HALVES, THIRDS)
DIGITS = tuple("0123456789")

Known = Literal["fine", "coarse", "nothing", "some"]


def answers_from(coarse: np.ndarray, routing: np.ndarray, classes: np.ndarray, grouping: CoarseGrouping) -> Answers:
    """Answers with these coarse labels, of rising probability."""
    count = len(grouping.labels)
    top = np.linspace(0.51, 1, len(coarse))
    others = (1 - top[:, None]) / max(1, count - 1)
    coarse_probability = np.where(np.eye(count, dtype=bool)[coarse], top[:, None] if count > 1 else 1.0, others)
    confidence = np.linspace(0.5, 1, len(coarse), dtype=np.float32)[::-1]
    return Answers(
        ModelName("made-up", "1"),
        grouping.labels,
        coarse_probability.astype(np.float32),
        routing.astype(np.float32),
        classes.astype(np.float32),
        guesses(coarse_probability, classes, grouping.membership()),
        confidence,
        confidence < 0.6,
    )


def info(
    classes: Sequence[str] = DIGITS, grouping: CoarseGrouping = HALVES, shape: tuple[int, ...] = (28, 28)
) -> ModelInfo:
    preparation = "mnist" if shape == (28, 28) else "fit"
    spec = InputSpec(shape=shape, meaning="made up", preparation=preparation)  # type: ignore[arg-type]
    class_map = {"kind": "references", "data": "made-up:train", "reference_images": 100}
    return ModelInfo(ModelName("made-up", "1"), spec, tuple(classes), grouping, True, class_map)


def evaluation(
    images: int = 40,
    experts: int = 5,
    classes: Sequence[str] = DIGITS,
    grouping: CoarseGrouping = HALVES,
    shape: tuple[int, ...] = (28, 28),
    perfect: bool = False,
    known: Known = "fine",
    seed: int = 0,
) -> Evaluation:
    """An evaluation whose coarse labels are right for every second image, or for all if ``perfect``.

    ``known`` is what is known of the truth; ``some`` is the class of a third and the coarse label of another third.
    """
    generator = np.random.default_rng(seed)
    fine = generator.integers(0, len(classes), images)
    probability = generator.dirichlet(np.ones(len(classes)), images)
    routing = generator.dirichlet(np.ones(experts), images)
    coarse = grouping.coarse(fine)
    answered = (coarse + (np.arange(images) % 2) * (not perfect)) % len(grouping.labels)
    answers = answers_from(answered, routing, np.eye(len(classes))[fine] if perfect else probability, grouping)
    pictures = generator.integers(0, 256, (images, *shape), dtype=np.uint8)
    third = np.arange(images) % 3
    know_fine = {"fine": True, "coarse": False, "nothing": False, "some": third == 0}[known]
    know_coarse = {"fine": True, "coarse": True, "nothing": False, "some": third < 2}[known] | (not grouping.divided)
    data = LabelledImages(
        "made-up",
        "test",
        pictures,
        np.where(know_coarse, coarse, UNKNOWN),
        grouping.labels,
        np.where(know_fine, fine, UNKNOWN),
        tuple(classes),
        (0.5,),
        (0.5,),
    )
    return Evaluation(data, answers, info(classes, grouping, shape), {"url": "http://x"})


def complete(made: Evaluation, others: Evaluation, budgets: tuple[int, ...] = (1, 10, 100)) -> Evaluation:
    """The same evaluation with everything that may be requested beside it; ``others`` are the outliers."""
    both = [{key: score.of(some.answers) for key, score in OUTLIER_SCORES.items()} for some in (made, others)]
    accuracy = np.random.default_rng(0).uniform(0.5, 1, (len(budgets), DRAWS))
    budget = ReferenceBudget("made-up:train", budgets, accuracy)
    return replace(made, outliers=Outliers(others.data, *both, 0.25), budget=budget)
