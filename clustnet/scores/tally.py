"""What scores and plots are computed from, in a few kilobytes however many images there are.

Every part of a tally is a whole number, and sums of probabilities are taken in steps of 2^-30, so that tallies add up
to the same one in whatever order, on one machine or on many: sums of floats would differ in their last digits.
"""

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.answers import Answers
from clustnet.bundles.groups import CoarseGrouping
from clustnet.bundles.routing import routing_entropy
from clustnet.scores.scores import CALIBRATION_BINS, Reliability, calibration_bin

STEPS = 2**30  # in 1; a mean over any number of images is off by half a step, 5e-10, at most
LEAST_PROBABILITY = 1e-12  # keeps the logarithm of an impossible class finite
CERTAINTY_BINS = 40
MISTAKES = 20

Counts = NDArray[np.int64]


class Mistake(NamedTuple):
    """A wrong guess: the image's place among all images, its true class, the guess, its probability, the image."""

    place: int
    label: int
    guess: int
    probability: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Tally:
    """Counts over N images of C classes that E experts share; two tallies of different images can be added.

    Args:
        routed: int64 [C, E, 2] images by true class, chosen expert and predicted coarse label.
        confusion: int64 [C, C] images by true class and guess.
        guesses: int64 [3, B] for each bin of the guess's probability: images, right ones, sum of the probability in
            steps of 1 / ``STEPS``.
        coarse: the same of the predicted coarse label.
        certainty: int64 [2, ``CERTAINTY_BINS``] all images, and wrong guesses, by the chosen expert's probability.
        abstained: images that the model would rather not answer.
        entropy: sum of the routing entropy, in steps.
        surprise: sum of -ln P(true class), in steps.
        mistakes: the ``MISTAKES`` wrong guesses of the highest probability, the surest first.
    """

    routed: Counts
    confusion: Counts
    guesses: Counts
    coarse: Counts
    certainty: Counts
    abstained: int
    entropy: int
    surprise: int
    mistakes: tuple[Mistake, ...]

    def __len__(self) -> int:
        return int(self.confusion.sum())

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.routed + other.routed,
            self.confusion + other.confusion,
            self.guesses + other.guesses,
            self.coarse + other.coarse,
            self.certainty + other.certainty,
            self.abstained + other.abstained,
            self.entropy + other.entropy,
            self.surprise + other.surprise,
            surest([*self.mistakes, *other.mistakes]),
        )

    @property
    def class_reliability(self) -> Reliability:
        """The guesses' probability beside their accuracy."""
        return _reliability(self.guesses)

    @property
    def coarse_reliability(self) -> Reliability:
        """The coarse labels' probability beside their accuracy."""
        return _reliability(self.coarse)


def tally(
    answers: Answers,
    labels: NDArray[np.integer],
    grouping: CoarseGrouping,
    images: NDArray[np.uint8] | None = None,
    first: int = 0,
) -> Tally:
    """Count the answers to N images.

    Args:
        answers: of the N images.
        labels: [N] true fine classes.
        grouping: the fine classes behind each coarse label, which are all that is answered; without coarse labels every
            image counts as negative.
        images: uint8 [N, H, W] or [N, H, W, 3], for the mistakes; without them none is kept.
        first: the place of the first image among all that are evaluated.
    """
    classes, experts = answers.class_probability.shape[1], answers.routing.shape[1]
    positive = (answers.coarse_label == grouping.labels[-1]).astype(np.int64) * grouping.divided
    right = answers.guess == labels
    true_probability = answers.class_probability[np.arange(len(labels)), labels].astype(np.float64)
    place = _even_bin(answers.routing.max(axis=1), CERTAINTY_BINS)
    return Tally(
        _counts((labels, answers.expert, positive), (classes, experts, 2)),
        _counts((labels, answers.guess), (classes, classes)),
        _bins(answers.guess_probability, right),
        _bins(answers.coarse_probability, positive == grouping.coarse(labels)),
        np.stack([np.bincount(chosen, minlength=CERTAINTY_BINS) for chosen in (place, place[~right])]),
        int(answers.abstain.sum()),
        int(_steps(routing_entropy(answers.routing)).sum()),
        int(_steps(-np.log(np.clip(true_probability, LEAST_PROBABILITY, None))).sum()),
        _mistakes(answers, labels, images, first) if images is not None else (),
    )


def surest(mistakes: list[Mistake]) -> tuple[Mistake, ...]:
    """Return at most ``MISTAKES`` of them, the most probable first and of equal ones the first image."""
    return tuple(heapq.nsmallest(MISTAKES, mistakes, key=lambda mistake: (-mistake.probability, mistake.place)))


def _mistakes(
    answers: Answers, labels: NDArray[np.integer], images: NDArray[np.uint8], first: int
) -> tuple[Mistake, ...]:
    guess, probability = answers.guess, answers.guess_probability
    wrong = np.flatnonzero(guess != labels)
    chosen = wrong[np.argsort(-probability[wrong], kind="stable")[:MISTAKES]]
    return tuple(
        Mistake(first + int(i), int(labels[i]), int(guess[i]), float(probability[i]), images[i].copy()) for i in chosen
    )


def _counts(places: tuple[NDArray[np.integer], ...], shape: tuple[int, ...]) -> Counts:
    table = np.zeros(shape, np.int64)
    np.add.at(table, places, 1)
    return table


def _bins(probability: NDArray[np.float32], right: NDArray[np.bool_]) -> Counts:
    table = np.zeros((3, CALIBRATION_BINS), np.int64)
    clipped = np.clip(probability.astype(np.float64), 0, 1)  # a float32 softmax may exceed 1 by its last bit
    place = calibration_bin(probability)
    for row, values in zip(
        table, (np.ones(len(right), np.int64), right.astype(np.int64), _steps(clipped)), strict=True
    ):
        np.add.at(row, place, values)
    return table


def _even_bin(probability: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    """Return the bin of each probability; like a histogram's, a bin holds its lower edge and the last one both."""
    return np.clip((probability.astype(np.float64) * bins).astype(np.int64), 0, bins - 1)


def _steps(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(values * STEPS).astype(np.int64)


def _reliability(table: Counts) -> Reliability:
    images, right, steps = table
    with np.errstate(invalid="ignore"):
        return Reliability(images, steps / STEPS / images, right / images)
