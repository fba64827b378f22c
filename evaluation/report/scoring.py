"""The scores of a source's answers for images that are held in memory."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.answers import Answers
from clustnet.bundles.groups import ALL, UNKNOWN
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.scores.reference_budget import ReferenceBudget
from clustnet.scores.tally import Tally, scores_of, tally
from evaluation.files.evaluation import FileEvaluation
from evaluation.report.outliers import Outliers
from evaluation.sources.sources import ModelInfo, Progress, Source, answer_all


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that holds every image and the answer to it.

    Args:
        data: the N images with their truth, in the model's coarse labels and classes.
        answers: what the source answered.
        info: what the source says of its model.
        source: where the source is, ready for JSON.
        outliers: how the model's answers to images of another kind compare, where that was requested.
        budget: the accuracy against the number of reference images, where that was requested.
    """

    data: LabelledImages
    answers: Answers
    info: ModelInfo
    source: dict[str, Any]
    outliers: Outliers | None = None
    budget: ReferenceBudget | None = None

    @cached_property
    def tally(self) -> Tally:
        """What the scores are computed from, with the surest mistakes."""
        data = self.data
        return tally(self.answers, data.coarse, data.fine, self.info.grouping, data.images)

    @cached_property
    def scores(self) -> dict[str, float]:
        """See ``clustnet.scores.tally.scores_of``."""
        return scores_of(self.tally)


# What a report shows.
Evaluated = Evaluation | FileEvaluation


def evaluate(source: Source, data: LabelledImages, progress: Progress = iter) -> Evaluation:
    """Let a source answer the data's images and score what it answers.

    Args:
        source: what answers.
        data: at least one image.
        progress: wraps the first index of each batch, to show progress.

    Raises:
        UserError: there are no images, they have other classes or coarse labels, or the source cannot answer them.
    """
    if len(data) == 0:
        raise UserError(f"The split {data.split} of {data.name} holds no images, so there is nothing to score.")
    known = with_truth(data, source.info)
    return Evaluation(known, answer_all(source, data.images, progress), source.info, source.description())


def with_truth(data: LabelledImages, info: ModelInfo) -> LabelledImages:
    """Return the data with their truth in the model's coarse labels and classes, ``UNKNOWN`` where it is not known.

    Raises:
        UserError: the data have other classes or coarse labels.
    """
    labels = info.grouping.labels
    if data.classes and data.classes != info.class_names:
        raise _other_names(data.name, "classes", info.class_names, data.classes)
    if data.coarse_labels not in (labels, (ALL,)):
        raise _other_names(data.name, "coarse labels", labels, data.coarse_labels)
    fine = data.fine if data.classes else np.full(len(data), UNKNOWN)
    return replace(data, coarse=_coarse(data, fine, info), coarse_labels=labels, fine=fine, classes=info.class_names)


def _coarse(data: LabelledImages, fine: NDArray[np.int64], info: ModelInfo) -> NDArray[np.int64]:
    """Return the coarse labels of the data, int64 [N]; where the class does not tell, they are the data's own."""
    of_classes = info.grouping.coarse(fine)
    if data.coarse_labels != info.grouping.labels:
        return of_classes
    return np.where(of_classes == UNKNOWN, data.coarse, of_classes)


def _other_names(data: str, kind: str, known: tuple[str, ...], found: tuple[str, ...]) -> UserError:
    """Return the error for data whose names are not the model's."""
    return UserError(
        f"The model knows the {kind} {', '.join(known)}, but {data} has {', '.join(found)}; "
        "use data for which the model was trained."
    )
