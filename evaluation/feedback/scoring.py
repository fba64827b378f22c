"""The scores of a model on the images that somebody sent feedback on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from clustnet.errors import UserError
from clustnet.feedback.feedback_file import Feedback, Labels, read_feedback
from clustnet.scores.scores import Reliability, reliability

CONFIDENCE_LEVEL = 0.95
NO_SAMPLE = (
    "Feedback is not a random sample: it covers only images whose true class somebody gave, and those may be the odd "
    "or the easy ones. The intervals show the uncertainty from so few images, not how much these differ from all "
    "images that the model answers."
)


@dataclass(frozen=True)
class Share:
    """A share: ``right`` of ``images`` images."""

    right: int
    images: int

    @property
    def value(self) -> float:
        """The share, 0 to 1; nan for no images."""
        return self.right / self.images if self.images else float("nan")

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The score interval at 95 % (Wilson, "Probable Inference", 1927); (0, 1) for no images."""
        if not self.images:
            return 0.0, 1.0
        found = binomtest(self.right, self.images).proportion_ci(CONFIDENCE_LEVEL, "wilson")
        return float(found.low), float(found.high)


@dataclass(frozen=True)
class ClassShare:
    """One class: the share of its images that were guessed, and the share of its guesses that are true."""

    name: str
    recall: Share
    precision: Share


class FeedbackScores:
    """The scores of one version of a model on N images, at least one.

    Args:
        labels: the model and its classes.
        rows: the N rows of feedback.
    """

    def __init__(self, labels: Labels, rows: Sequence[Feedback]) -> None:
        self.labels, self.rows = labels, rows
        self._right = np.array([row.correct for row in rows])
        self._abstained = np.array([row.answer.abstain for row in rows])
        times = [row.answer.answered for row in rows]
        self.first, self.last = (datetime.fromtimestamp(moment, UTC) for moment in (min(times), max(times)))

    @property
    def accuracy(self) -> Share:
        """The share of guesses that are the label."""
        return _share(self._right)

    @property
    def coarse_accuracy(self) -> Share:
        """The share of predicted coarse labels that are those of the true class."""
        coarse = {self.labels.classes[c]: name for name, group in self.labels.coarse.items() for c in group}
        return _share(np.array([coarse[row.label] == row.answer.coarse for row in self.rows]))

    @property
    def accuracy_without_abstained(self) -> Share:
        """The share of guesses that are the label, among images from which the model did not abstain."""
        return _share(self._right[~self._abstained])

    @property
    def abstained(self) -> Share:
        """The share of images from which the model abstained."""
        return _share(self._abstained)

    @property
    def mean_class_probability(self) -> float:
        """The guesses' mean probability."""
        return float(np.mean([row.answer.guess_probability for row in self.rows]))

    @cached_property
    def reliability(self) -> Reliability:
        """The guesses' probability beside their accuracy; its ``error`` is the calibration error."""
        return reliability(np.array([row.answer.guess_probability for row in self.rows]), self._right)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Images of each true class (row) by guess (column), int64 [C, C]."""
        true, guessed = [row.label for row in self.rows], [row.answer.guess for row in self.rows]
        table: NDArray[np.int64] = confusion_matrix(true, guessed, labels=list(self.labels.classes))
        return table

    def classes(self) -> Iterator[ClassShare]:
        """Yield each class of the model."""
        table = self.confusion
        for index, name in enumerate(self.labels.classes):
            right, true, guessed = int(table[index, index]), int(table[index].sum()), int(table[:, index].sum())
            yield ClassShare(name, Share(right, true), Share(right, guessed))


def score_feedback(path: Path) -> list[FeedbackScores]:
    """Score the feedback of a file, one version of one model after the other.

    Raises:
        UserError: it is not a feedback file, holds no feedback, or holds a label that is no class of the model.
    """
    scores = [FeedbackScores(labels, rows) for labels, rows in read_feedback(path)]
    if not scores:
        raise UserError(f"{path} holds no feedback yet; send some to the service's /feedback.")
    for found in scores:
        strange = {row.label for row in found.rows} - set(found.labels.classes)
        if strange:
            raise UserError(f"{path} holds the label {min(strange)!r}, which the model does not know; remove that row.")
    return scores


def _share(right: NDArray[np.bool_]) -> Share:
    """Return the share of images that are right."""
    return Share(int(right.sum()), len(right))
