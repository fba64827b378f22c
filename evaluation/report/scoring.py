"""The scores of answers against the true classes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from clustnet.bundles.answers import Answers, Model
from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.scores.scores import matched_share
from clustnet.scores.tables import ari, nmi
from clustnet.scores.tally import STEPS, Tally, tally
from evaluation.files.unread import Unread
from evaluation.report.outliers import Outliers
from evaluation.report.reference_budget import ReferenceBudget
from evaluation.sources.coarse_option import by_first_class
from evaluation.sources.sources import Source, answer_all


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that holds every image and the answer to it.

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

    @property
    def model(self) -> Model:
        """Who answered."""
        return self.answers.model

    @cached_property
    def tally(self) -> Tally:
        """What the scores are computed from, with the surest mistakes."""
        return tally(self.answers, self.data.labels, self.grouping, self.data.images)


@dataclass(frozen=True)
class FileImages:
    """The images of files, which are not held.

    Args:
        name: the files' pattern.
        images: how many were read.
        classes: the names of the fine classes.
    """

    name: str
    images: int
    classes: tuple[str, ...]
    split: str = ""

    def __len__(self) -> int:
        return self.images


@dataclass(frozen=True)
class FileEvaluation:
    """An evaluation that holds neither images nor answers but what they add up to, for any number of them.

    Args:
        data: the images.
        model: who answered.
        tally: what the scores are computed from.
        grouping: the fine classes behind each coarse label.
        source: the source in words, ready for JSON.
        unread: what of the files could not be read.
    """

    data: FileImages
    model: Model
    tally: Tally
    grouping: CoarseGrouping
    source: dict[str, Any]
    unread: Unread
    outliers: None = None
    budget: None = None

    @cached_property
    def scores(self) -> dict[str, float]:
        """See ``score``."""
        return scores_of(self.tally, self.grouping)


Evaluated = Evaluation | FileEvaluation  # what a report shows


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
        ``clustnet.scores.scores.routing_scores``, to nine digits; ``mean_class_probability``, their mean probability;
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
    return scores_of(tally(answers, labels, grouping), grouping)


def scores_of(tallied: Tally, grouping: CoarseGrouping) -> dict[str, float]:
    """Score a tally of at least one image; see ``score``."""
    total, classes = len(tallied), range(len(tallied.confusion))
    cells = tallied.routed.reshape(len(classes), -1)
    load = tallied.routed.sum(axis=(0, 2)) / total
    scores = {"class_accuracy": float(tallied.confusion.trace() / total), **_coarse_scores(tallied, grouping)}
    scores |= {"cell_accuracy": matched_share(cells), "nmi": nmi(cells), "ari": ari(cells)}
    scores |= {f"expert_load/{expert}": float(share) for expert, share in enumerate(load)}
    scores |= {
        "routing_entropy": tallied.entropy / STEPS / total,
        "mean_class_probability": int(tallied.guesses[2].sum()) / STEPS / total,
        "negative_log_likelihood": tallied.surprise / STEPS / total,
        "calibration_error": tallied.class_reliability.error,
    }
    if grouping.divided:
        scores["binary_calibration_error"] = tallied.coarse_reliability.error
    return scores | {"abstained": tallied.abstained / total}


def _coarse_scores(tallied: Tally, grouping: CoarseGrouping) -> dict[str, float]:
    """Score what is about coarse labels, where there are any."""
    if not grouping.divided:
        return {}
    classes = range(len(tallied.confusion))
    coarse = grouping.coarse(np.array(classes))
    right = tallied.routed[classes, :, coarse].sum()
    scores = {"binary_accuracy": float(right / len(tallied))}
    for index, label in enumerate(grouping.labels):
        scores[f"group_accuracy/{label}"] = matched_share(tallied.routed[coarse == index].sum(axis=2))
    return scores


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


def group_confusion(tallied: Tally, group: Sequence[int]) -> GroupConfusion:
    """Match the experts one-to-one with the classes of one coarse group, as the group's accuracy does.

    Args:
        tallied: of N images.
        group: the fine classes of the group.
    """
    table = tallied.routed[list(group)].sum(axis=2)
    rows, columns = linear_sum_assignment(table, maximize=True)
    rows, columns = (
        np.concatenate([matched, np.setdiff1d(np.arange(size), matched)])
        for matched, size in zip((rows, columns), table.shape, strict=True)
    )
    return GroupConfusion(table[np.ix_(rows, columns)], np.array(group)[rows], columns)
