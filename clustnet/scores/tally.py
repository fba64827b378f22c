"""The counts from which scores and plots are computed, in a few kilobytes however many images there are.

Tallies consist of whole numbers, and probabilities are summed in steps of 2^-30. So the sum of tallies is the same in
any order, on one machine or on many, whereas sums of floats would differ in their last digits.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from clustnet.bundles.answers import Answers
from clustnet.bundles.groups import UNKNOWN, CoarseGrouping
from clustnet.bundles.routing import routing_entropy
from clustnet.scores.scores import CALIBRATION_BINS, Reliability, RoutingCounts, calibration_bin, count_table

# Steps in 1; a mean over any number of images is off by at most half a step, 5e-10.
STEPS = 2**30
# Keeps the logarithm finite where a class has probability 0.
MIN_PROBABILITY = 1e-12
CERTAINTY_BINS = 40
MAX_MISTAKES = 20

Counts = NDArray[np.int64]
Integers = NDArray[np.integer]


class Mistake(NamedTuple):
    """A wrong guess: the index of the image among all images, its truth, the guess, its probability, and the image.

    ``truth`` is a row of ``Tally.routed``.
    """

    place: int
    truth: int
    guess: int
    probability: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Tally:
    """Counts over N images that are routed to E experts; tallies of different images can be added.

    The truth of an image is its class if known, else its coarse label if known, else nothing. So a table by truth has
    C + K + 1 rows: the C classes, the K coarse labels, and nothing.

    Args:
        grouping: the C classes of the K coarse labels.
        routed: int64 [C + K + 1, E, K] images by truth, most probable expert and predicted coarse label.
        guessed: int64 [C + K + 1, C] images by truth and guess.
        guess_bins: int64 [3, B] for each bin of the guess's probability: images of known class, those of them guessed
            right, and the sum of the probability in steps of 1 / ``STEPS``.
        coarse_bins: the same for the predicted coarse label and the images whose coarse label is known.
        certainty: int64 [2, ``CERTAINTY_BINS``] all images, and wrong guesses, by the chosen expert's probability.
        abstained: number of images that the model abstains from.
        entropy: sum of the routing entropies, in steps.
        probability: sum of the guesses' probabilities, in steps.
        surprise: sum of -ln P(true class) over the images of known class, in steps.
        mistakes: the ``MAX_MISTAKES`` wrong guesses with the highest probability, the most probable first.
    """

    grouping: CoarseGrouping
    routed: Counts
    guessed: Counts
    guess_bins: Counts
    coarse_bins: Counts
    certainty: Counts
    abstained: int
    entropy: int
    probability: int
    surprise: int
    mistakes: tuple[Mistake, ...]

    def __len__(self) -> int:
        return int(self.guessed.sum())

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.grouping,
            self.routed + other.routed,
            self.guessed + other.guessed,
            self.guess_bins + other.guess_bins,
            self.coarse_bins + other.coarse_bins,
            self.certainty + other.certainty,
            self.abstained + other.abstained,
            self.entropy + other.entropy,
            self.probability + other.probability,
            self.surprise + other.surprise,
            surest([*self.mistakes, *other.mistakes]),
        )

    @property
    def classes(self) -> int:
        """The number C of classes."""
        return int(self.guessed.shape[1])

    @property
    def known_classes(self) -> int:
        """The number of images whose class is known."""
        return int(self.confusion.sum())

    @property
    def known_coarse(self) -> int:
        """The number of images whose coarse label is known."""
        return int(self.coarse_confusion.sum())

    @property
    def confusion(self) -> Counts:
        """Images of known class, by true class (row) and guess, int64 [C, C]."""
        table: Counts = self.guessed[: self.classes]
        return table

    @cached_property
    def truth_coarse(self) -> Counts:
        """The coarse label of each row of a table by truth, int64 [C + K + 1]; ``UNKNOWN`` for the last row."""
        of_classes = self.grouping.coarse(np.arange(self.classes))
        found: Counts = np.concatenate([of_classes, np.arange(len(self.grouping.labels)), [UNKNOWN]])
        return found

    @property
    def coarse_confusion(self) -> Counts:
        """Images of known coarse label, by true (row) and predicted coarse label, int64 [K, K]."""
        return self._by_coarse(self.routed.sum(axis=1))[:-1]

    @property
    def subtypes(self) -> Counts:
        """Images by true coarse label (in the last row, those where it is unknown) and guess, int64 [K + 1, C]."""
        return self._by_coarse(self.guessed)

    @property
    def experts(self) -> Counts:
        """Images by true coarse label (in the last row, those where it is unknown) and expert, int64 [K + 1, E]."""
        return self._by_coarse(self.routed.sum(axis=2))

    @property
    def class_experts(self) -> Counts:
        """Images of known class, by true class and expert, int64 [C, E]."""
        table: Counts = self.routed[: self.classes].sum(axis=2)
        return table

    @property
    def class_reliability(self) -> Reliability:
        """The reliability of the guesses."""
        return _reliability(self.guess_bins)

    @property
    def coarse_reliability(self) -> Reliability:
        """The reliability of the predicted coarse labels."""
        return _reliability(self.coarse_bins)

    def routing_counts(self) -> RoutingCounts:
        """Return the counts from which the scores of the routing are computed."""
        return RoutingCounts(
            coarse=self.coarse_confusion,
            groups=tuple(self.class_experts[list(group)] for group in self.grouping.groups),
            cells=self.routed[: self.classes].reshape(self.classes, -1),
            load=self.routed.sum(axis=0),
            mean_entropy=self.entropy / STEPS / len(self),
        )

    def _by_coarse(self, table: Counts) -> Counts:
        """Return the rows of a table by truth, [C + K + 1, ...], summed by coarse label, [K + 1, ...]."""
        sums = np.zeros((len(self.grouping.labels) + 1, *table.shape[1:]), np.int64)
        # UNKNOWN is -1, so images without a known coarse label are added to the last row.
        np.add.at(sums, self.truth_coarse, table)
        return sums


def tally(
    answers: Answers,
    coarse: Integers,
    fine: Integers,
    grouping: CoarseGrouping,
    images: NDArray[np.uint8] | None = None,
    first: int = 0,
) -> Tally:
    """Return the counts of the answers to N images.

    Args:
        answers: the answers to the N images.
        coarse: [N] true coarse labels, ``UNKNOWN`` where they are not known. If the class is known, its coarse label
            is used instead; if there is a single coarse label, every image has it.
        fine: [N] true classes, ``UNKNOWN`` where they are not known.
        grouping: the classes of each coarse label, in the model's order.
        images: uint8 [N, H, W] or [N, H, W, 3], for the mistakes; without images, no mistake is kept.
        first: the index of the first image among all that are evaluated.
    """
    classes, experts, labels = answers.class_probability.shape[1], answers.routing.shape[1], len(grouping.labels)
    coarse = np.where((fine == UNKNOWN) & grouping.divided, coarse, grouping.coarse(fine))
    truth = np.where(fine != UNKNOWN, fine, np.where(coarse != UNKNOWN, classes + coarse, classes + labels))
    known, known_coarse = fine != UNKNOWN, coarse != UNKNOWN
    right, right_label = answers.guess == fine, answers.coarse == coarse
    wrong = np.where(known, ~right, known_coarse & ~right_label)
    place = _even_bin(answers.routing.max(axis=1), CERTAINTY_BINS)
    true_probability = answers.class_probability[known, fine[known]].astype(np.float64)
    coarse_probability = answers.coarse_probability.max(axis=1)
    return Tally(
        grouping=grouping,
        routed=count_table((truth, answers.expert, answers.coarse), (classes + labels + 1, experts, labels)),
        guessed=count_table((truth, answers.guess), (classes + labels + 1, classes)),
        guess_bins=_bins(answers.guess_probability[known], right[known]),
        coarse_bins=_bins(coarse_probability[known_coarse], right_label[known_coarse]),
        certainty=np.stack([np.bincount(chosen, minlength=CERTAINTY_BINS) for chosen in (place, place[wrong])]),
        abstained=int(answers.abstain.sum()),
        entropy=int(_steps(routing_entropy(answers.routing)).sum()),
        probability=int(_steps(_clipped(answers.guess_probability)).sum()),
        surprise=int(_steps(-np.log(np.clip(true_probability, MIN_PROBABILITY, None))).sum()),
        mistakes=() if images is None else _mistakes(answers, truth, wrong, images, first),
    )


def scores_of(tallied: Tally) -> dict[str, float]:
    """Return the scores that the truth allows, for a tally of at least one image.

    Returns:
        ``class_accuracy``, the share of guesses that are the true class; the scores of
        ``clustnet.scores.scores.routing_scores``, to nine digits; ``mean_class_probability``, the mean probability of
        the guesses; ``negative_log_likelihood``, the mean of -ln P(true class); ``calibration_error`` and
        ``coarse_calibration_error``, the expected calibration errors of the guesses and of the coarse labels; and
        ``abstained``, the share of images that the model abstains from, which the other scores count as well.
        With a single coarse label, scores of coarse labels are left out, and so is a score whose truth is known for no
        image.
    """
    total, known = len(tallied), tallied.known_classes
    scores = {"class_accuracy": float(tallied.confusion.trace() / known)} if known else {}
    scores |= tallied.routing_counts().scores(tallied.grouping.labels)
    scores["mean_class_probability"] = tallied.probability / STEPS / total
    if known:
        scores["negative_log_likelihood"] = tallied.surprise / STEPS / known
        scores["calibration_error"] = tallied.class_reliability.error
    if tallied.grouping.divided and tallied.known_coarse:
        scores["coarse_calibration_error"] = tallied.coarse_reliability.error
    return scores | {"abstained": tallied.abstained / total}


@dataclass(frozen=True)
class GroupConfusion:
    """Classes against experts for the images of one coarse label, with the best matching on the diagonal.

    Args:
        table: int64 [classes, E] images of each class that were routed to each expert.
        classes: int64 [classes] the class of each row.
        experts: int64 [E] the expert of each column.
    """

    table: NDArray[np.int64]
    classes: NDArray[np.int64]
    experts: NDArray[np.int64]


def group_confusion(tallied: Tally, group: Sequence[int]) -> GroupConfusion:
    """Return the one-to-one matching of experts and classes of one coarse label, on which group accuracy is based.

    Args:
        tallied: the tally of N images.
        group: the classes of the coarse label.
    """
    table = tallied.class_experts[list(group)]
    rows, columns = linear_sum_assignment(table, maximize=True)
    rows, columns = (
        np.concatenate([matched, np.setdiff1d(np.arange(size), matched)])
        for matched, size in zip((rows, columns), table.shape, strict=True)
    )
    return GroupConfusion(table[np.ix_(rows, columns)], np.array(group)[rows], columns)


def surest(mistakes: list[Mistake]) -> tuple[Mistake, ...]:
    """Return the ``MAX_MISTAKES`` most probable mistakes, sorted by falling probability and then by image."""
    return tuple(heapq.nsmallest(MAX_MISTAKES, mistakes, key=lambda mistake: (-mistake.probability, mistake.place)))


def _mistakes(
    answers: Answers, truth: Integers, wrong: NDArray[np.bool_], images: NDArray[np.uint8], first: int
) -> tuple[Mistake, ...]:
    """Return the most probable wrong guesses."""
    guess, probability = answers.guess, answers.guess_probability
    places = np.flatnonzero(wrong)
    chosen = places[np.argsort(-probability[places], kind="stable")[:MAX_MISTAKES]]
    return tuple(
        Mistake(first + int(i), int(truth[i]), int(guess[i]), float(probability[i]), images[i].copy()) for i in chosen
    )


def _bins(probability: NDArray[np.float32], right: NDArray[np.bool_]) -> Counts:
    """Return the images, the right ones and the sum of the probability in each calibration bin, int64 [3, B]."""
    table = np.zeros((3, CALIBRATION_BINS), np.int64)
    place = calibration_bin(probability)
    rows = (np.ones(len(right), np.int64), right.astype(np.int64), _steps(_clipped(probability)))
    for row, values in zip(table, rows, strict=True):
        np.add.at(row, place, values)
    return table


def _clipped(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities clipped to 1, which a float32 softmax may exceed by its last bit."""
    return np.clip(probability.astype(np.float64), 0, 1)


def _even_bin(probability: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    """Return the bin of each probability; as in a histogram, a bin includes its lower edge, and the last bin both."""
    return np.clip((probability.astype(np.float64) * bins).astype(np.int64), 0, bins - 1)


def _steps(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return values in whole steps of 1 / ``STEPS``."""
    return np.rint(values * STEPS).astype(np.int64)


def _reliability(table: Counts) -> Reliability:
    """Return the reliability of calibration bins."""
    images, right, steps = table
    with np.errstate(invalid="ignore"):
        return Reliability(images, steps / STEPS / images, right / images)
