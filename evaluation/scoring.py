"""The scores of answers against the true classes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from clustnet.coarse import CoarseGrouping
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.scores import Reliability, reliability, routing_scores
from evaluation.coarse_option import by_first_class
from evaluation.outliers import Outliers
from evaluation.reference_budget import ReferenceBudget
from evaluation.sources import Answers, Source, answer_all

LEAST_PROBABILITY = 1e-12  # keeps the logarithm of an impossible class finite


@dataclass(frozen=True)
class Evaluation:
    """Everything that a report shows.

    Args:
        data: the N labelled images.
        answers: what the source said about them.
        grouping: the fine classes behind each coarse label.
        scores: see ``score``.
        source: the source in words, ready for JSON.
        outliers: how the model's answers to images of another kind compare, where that was asked.
        budget: the accuracy against the number of reference images, where that was asked.
    """

    data: LabelledImages
    answers: Answers
    grouping: CoarseGrouping
    scores: dict[str, float]
    source: dict[str, Any]
    outliers: Outliers | None = None
    budget: ReferenceBudget | None = None


def evaluate(
    source: Source,
    data: LabelledImages,
    grouping: CoarseGrouping | None = None,
    progress: Callable[[range], Iterable[int]] = iter,
) -> Evaluation:
    """Let a source answer the data's images and score what it says.

    Args:
        source: who answers.
        data: at least one labelled image.
        grouping: the fine classes behind each coarse label; by default the source tells.
        progress: wraps the first index of each batch, to show how far it is.

    Raises:
        UserError: no images, or the source cannot answer them.
    """
    if len(data) == 0:
        raise UserError(f"The split {data.split} of {data.name} holds no images, so there is nothing to score.")
    if not data.labelled:
        raise UserError(
            f"The split {data.split} of {data.name} has images whose class is not told, so it cannot be scored; "
            f"sort them into {data.split}/CLASS/."
        )
    answers = answer_all(source, data.images, progress)
    groups = by_first_class(grouping or source.grouping(set(answers.coarse_label.tolist())))
    return Evaluation(data, answers, groups, score(answers, data.labels, groups), source.description())


def score(answers: Answers, labels: NDArray[np.integer], grouping: CoarseGrouping) -> dict[str, float]:
    """Score answers against the true classes.

    Args:
        answers: of N images, N at least 1.
        labels: [N] true fine classes.
        grouping: the fine classes behind each coarse label.

    Returns:
        ``class_accuracy``, the share of guesses that are the true class; those of
        ``clustnet.scores.routing_scores``; ``mean_class_probability``, the guesses' mean probability;
        ``negative_log_likelihood``, the mean of -ln P(true class); and ``calibration_error`` and
        ``binary_calibration_error``, the expected calibration errors of the guesses and of the coarse labels; and
        ``abstained``, the share of images that the model would rather not answer, which the others count as well.
        A group without images scores nan; without coarse labels what is about them is left out.

    Raises:
        UserError: an answered coarse label is not in the grouping.
    """
    unknown = set(answers.coarse_label.tolist()) - set(grouping.labels)
    if unknown:
        raise UserError(
            f"The model answers the coarse label {min(unknown)!r}, "
            f"but the groups are {' and '.join(map(repr, grouping.labels))}; correct --coarse."
        )
    positive = (answers.coarse_label == grouping.labels[-1]).astype(np.float64) * grouping.divided
    true_probability = answers.class_probability[np.arange(len(labels)), labels].astype(np.float64)
    log_likelihood = np.log(np.clip(true_probability, LEAST_PROBABILITY, None))
    scores = {
        "class_accuracy": float((answers.guess == labels).mean()),
        **routing_scores(answers.routing, positive, labels, grouping),
        "mean_class_probability": float(answers.guess_probability.astype(np.float64).mean()),
        "negative_log_likelihood": float(-log_likelihood.mean()),
        "calibration_error": class_reliability(answers, labels).error,
        "binary_calibration_error": coarse_reliability(answers, labels, grouping).error,
        "abstained": float(answers.abstain.mean()),
    }
    if not grouping.divided:
        del scores["binary_calibration_error"]
    return scores


def class_reliability(answers: Answers, labels: NDArray[np.integer]) -> Reliability:
    """Return the guesses' probability beside their accuracy; ``labels`` are the N true fine classes."""
    return reliability(answers.guess_probability, answers.guess == labels)


def coarse_reliability(answers: Answers, labels: NDArray[np.integer], grouping: CoarseGrouping) -> Reliability:
    """Return the coarse labels' probability beside their accuracy; ``labels`` are the N true fine classes."""
    true = np.array(grouping.labels)[grouping.coarse(labels)]
    return reliability(answers.coarse_probability, answers.coarse_label == true)


def counts(rows: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Count the pairs: int64 ``shape``, entry [r, c] the number of i with rows[i] == r, columns[i] == c."""
    table = np.zeros(shape, np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


@dataclass(frozen=True)
class GroupConfusion:
    """Classes against experts among the images of one coarse group, best matching on the diagonal.

    Args:
        table: int64 [K, E] images of each class that each expert got.
        classes: int64 [K] the fine class of each row.
        experts: int64 [E] the expert of each column.
    """

    table: NDArray[np.int64]
    classes: NDArray[np.int64]
    experts: NDArray[np.int64]


def group_confusion(answers: Answers, labels: NDArray[np.integer], group: Sequence[int]) -> GroupConfusion:
    """Match the experts one-to-one with the classes of one coarse group, as the group's accuracy does.

    Args:
        answers: of N images.
        labels: [N] true fine classes.
        group: the fine classes of the group.
    """
    shape = max(group) + 1, answers.routing.shape[1]
    of_group = np.isin(labels, group)
    table = counts(labels[of_group], answers.expert[of_group], shape)[list(group)]
    rows, columns = linear_sum_assignment(table, maximize=True)
    rows, columns = (
        np.concatenate([matched, np.setdiff1d(np.arange(size), matched)])
        for matched, size in zip((rows, columns), table.shape, strict=True)
    )
    return GroupConfusion(table[np.ix_(rows, columns)], np.array(group)[rows], columns)
