"""Drift: whether live traffic still resembles the images a model was made for, judged without labels.

Four distributions are compared with the reference in the bundle's manifest: the load of the experts, the guess,
the confidence and the brightness. Each gets two measures:

- the *population stability index*, the size of the shift. It is Jeffreys' divergence between the two histograms; by
  convention, below 0.1 is small and above 0.25 is large. Without any shift it follows a chi-squared distribution
  (Yurdakul and Naranjo, "Statistical properties of the population stability index", Journal of Risk Model Validation
  14(4), 2020), whose mean is subtracted here so that a short window does not look like drift.
- an *alarm*, whether there is strong evidence that the shift exceeds a small tolerance. It is an e-detector (Shin,
  Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", arXiv:2203.03532): a sum
  of e-processes that start at regular intervals of images. Each e-process is the likelihood of the images since its
  start under a learnt distribution, divided by their largest likelihood under any distribution within the tolerance
  (Wasserman, Ramdas, Balakrishnan, "Universal inference", PNAS 117(29), 2020).

For independent images from any one distribution within the tolerance, the mean number of images before the first false
alarm is at least ``FALSE_ALARM_IMAGES``, for the four distributions together.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import Binned, DriftReference
from clustnet.bundles.class_map import guesses
from clustnet.bundles.predictor import Predictions

# Bins of confidence and of brightness, equally full in the reference.
BINS = 10
# Blocks of a window, which slides by one block at a time.
BLOCKS = 10
# The tolerated divergence KL(reference || live), which is about 0.1 of the population stability index.
TOLERANCE_NATS = 0.05
# The probability that the reference's own sampling error is larger than allowed for.
REFERENCE_FAULT_PROBABILITY = 0.001
FALSE_ALARM_IMAGES = 1_000_000
# The count with which a learnt distribution starts in each bin: Krichevsky and Trofimov, 1981.
PRIOR_IMAGES = 0.5
# Bisection steps in the search for the likeliest distribution within the tolerance.
HALVINGS = 16

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Observed:
    """The values that are compared, for N images.

    Args:
        expert: int [N], the most probable expert.
        guess: int [N], the guessed subtype.
        confidence: float [N], above 0 and up to 1.
        brightness: float64 [N], the mean pixel, 0 to 1.
    """

    expert: NDArray[np.intp]
    guess: NDArray[np.intp]
    confidence: NDArray[np.float32]
    brightness: NDArray[np.float64]

    @classmethod
    def of(
        cls, outputs: Iterable[Predictions], images: Iterable[NDArray[np.uint8]], membership: NDArray[np.bool_]
    ) -> "Observed":
        """Return the compared values of images and of a model's outputs for them.

        Args:
            outputs: the outputs for one or more batches.
            images: uint8 [N, ...] the same images, in batches of any size.
            membership: bool [K, C] whether each subtype belongs to each coarse label.
        """
        parts = list(outputs)
        return cls(
            np.concatenate([part.routing for part in parts]).argmax(axis=1),
            np.concatenate([guesses(part.coarse_probability, part.class_probability, membership) for part in parts]),
            np.concatenate([part.confidence for part in parts]),
            np.concatenate([_brightness(part) for part in images]),
        )

    def bins(self, reference: DriftReference) -> NDArray[np.intp]:
        """Return the bin of each image in each of the four distributions, int [N, 4]."""
        confidence = np.searchsorted(reference.confidence.edges, self.confidence, side="right")
        brightness = np.searchsorted(reference.brightness.edges, self.brightness, side="right")
        return np.stack([self.expert, self.guess, confidence, brightness], axis=1)


def _brightness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean pixel of each image, float64 [N], 0 to 1, for images uint8 [N, ...]."""
    pixels = images.reshape(len(images), -1)
    brightness: NDArray[np.float64] = pixels.sum(axis=1, dtype=np.uint64) / (255 * pixels.shape[1])
    return brightness


def reference_of(observed: Observed, experts: int, classes: int, data: str, held_out: bool) -> DriftReference:
    """Return the reference that a manifest keeps.

    Args:
        observed: the compared values for the reference images, at least one image.
        experts: the number of experts.
        classes: the number of subtypes.
        data: the source of the images, for example ``mnist:train``.
        held_out: whether the model was trained without them.
    """
    return DriftReference(
        data=data,
        images=len(observed.brightness),
        held_out=held_out,
        expert_load=np.bincount(observed.expert, minlength=experts).tolist(),
        guess=np.bincount(observed.guess, minlength=classes).tolist(),
        confidence=_binned(observed.confidence),
        brightness=_binned(observed.brightness),
    )


@dataclass(frozen=True)
class Shift:
    """How one live distribution compares with its reference.

    Args:
        counts: int64 [bins], the window's images in each bin.
        psi: the population stability index, 0 or more.
        alarm: whether there is strong evidence that the shift exceeds the tolerance.
    """

    counts: Counts
    psi: float
    alarm: bool


class Window:
    """The last images of a model's traffic, in constant memory.

    The window slides by a tenth of its length: once full, it holds the last ``images`` images, or up to a tenth fewer.

    Args:
        reference: what the traffic is compared with.
        images: the length of the window, ``BLOCKS`` or more.
    """

    def __init__(self, reference: DriftReference, images: int) -> None:
        self.reference = reference
        # How many images are in the window now.
        self.images = 0
        counts = list(reference.counts().values())
        self._kinds = [len(some) for some in counts]
        self._reference = np.zeros((len(counts), max(self._kinds)))
        for row, some in zip(self._reference, counts, strict=True):
            row[: len(some)] = np.array(some) / reference.images
        self._radius = np.array([_radius(kinds, reference.images) for kinds in self._kinds])
        self._block = images // BLOCKS
        # [blocks, 4, bins], the newest first.
        self._blocks = np.zeros((1, *self._reference.shape), np.int64)
        # How many more images the newest block takes.
        self._room = self._block
        self._rising = np.array([_log_rising(PRIOR_IMAGES, count) for count in range(BLOCKS * self._block + 1)])
        self._enough = math.log(len(counts) * (FALSE_ALARM_IMAGES / self._block + 1))

    def add(self, bins: NDArray[np.intp]) -> None:
        """Move the window on by N images, in their order.

        Args:
            bins: int [N, 4], as ``Observed.bins`` gives them.
        """
        while len(bins):
            if not self._room:
                empty = np.zeros_like(self._blocks[:1])
                self._blocks = np.concatenate([empty, self._blocks[: BLOCKS - 1]])
                self._room = self._block
            taken, bins = bins[: self._room], bins[self._room :]
            for counts, column in zip(self._blocks[0], taken.T, strict=True):
                counts += np.bincount(column, minlength=len(counts))
            self._room -= len(taken)
        self.images = int(self._blocks[:, 0].sum())

    def shifts(self) -> dict[str, Shift]:
        """Return how each distribution compares with the reference."""
        # [blocks, 4, bins]: the counts of the newest block, of the two newest, ...
        counts = self._blocks.cumsum(axis=0)
        alarms = np.logaddexp.reduce(self._log_evidence(counts), axis=0) >= self._enough
        return {
            name: Shift(live[:kinds], psi(np.array(was), live[:kinds]), bool(alarm))
            for (name, was), live, kinds, alarm in zip(
                self.reference.counts().items(), counts[-1], self._kinds, alarms, strict=True
            )
        }

    def _log_evidence(self, counts: Counts) -> NDArray[np.float64]:
        """Return the logarithm of each e-process, float64 [B, 4], from counts int64 [B, 4, bins]."""
        images = counts[:, 0].sum(axis=1).tolist()
        totals = np.array([[_log_rising(PRIOR_IMAGES * kinds, n) for kinds in self._kinds] for n in images])
        learnt: NDArray[np.float64] = self._rising[counts].sum(axis=2) - totals
        return learnt - best_log_likelihood(counts, self._reference, self._radius)


def psi(reference: Counts, live: Counts) -> float:
    """Return the population stability index of two histograms, minus its mean without any shift; 0 or more.

    Half an image is added to every bin, so that an empty bin does not make the index infinite.

    Args:
        reference: int [bins], counts of M images, at least one.
        live: int [bins], counts of N images; the index is 0 if there are none.
    """
    if not live.sum():
        return 0.0
    was, now = ((counts + 0.5) / (counts + 0.5).sum() for counts in (reference, live))
    by_chance = (len(live) - 1) * (1 / reference.sum() + 1 / live.sum())
    return max(0.0, float(((now - was) * np.log(now / was)).sum() - by_chance))


def best_log_likelihood(
    counts: Counts, reference: NDArray[np.float64], radius: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the largest log-likelihood of counts under a distribution near the reference, or very slightly more.

    A distribution p is near if the divergence KL(reference || p) is at most ``radius``. By Lagrange multipliers, the
    likeliest of them is a mixture of the counts' own shares and the reference.

    Args:
        counts: int64 [..., bins].
        reference: float64 [..., bins] probabilities, broadcast to the counts.
        radius: float64 [...] in nats, likewise.
    """
    shares = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    entropy = _dot_log(reference, reference)
    # Bounds of the weight of the shares in the mixture.
    low, high = np.zeros(counts.shape[:-1]), np.ones(counts.shape[:-1])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        near = entropy - _dot_log(reference, _mixed(shares, reference, middle)) <= radius
        low, high = np.where(near, middle, low), np.where(near, high, middle)
    # The upper bound is just outside the tolerance, so the likelihood is never too small.
    return _dot_log(counts, _mixed(shares, reference, high))


def _mixed(
    shares: NDArray[np.float64], reference: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    return reference + weight[..., None] * (shares - reference)


def _dot_log(weights: NDArray[np.floating] | Counts, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of ``weights * log(probability)`` along the last axis; where a weight is 0, so is the product."""
    logs = np.log(probability, out=np.zeros_like(probability), where=probability > 0)
    found: NDArray[np.float64] = (weights * logs).sum(axis=-1)
    return found


def _radius(kinds: int, images: int) -> float:
    """Return the tolerance plus the sampling error of a reference of ``images`` in ``kinds`` bins, in nats.

    Twice the images times the divergence is chi-squared (Wilks, 1938). Its tail is bounded by lemma 1 of Laurent and
    Massart, "Adaptive estimation of a quadratic functional by model selection", 2000.
    """
    degrees, rare = kinds - 1, -math.log(REFERENCE_FAULT_PROBABILITY)
    return TOLERANCE_NATS + (degrees + 2 * math.sqrt(degrees * rare) + 2 * rare) / (2 * images)


def _log_rising(start: float, factors: int) -> float:
    """Return the logarithm of start (start + 1) (start + 2) ..., a product of ``factors`` factors."""
    return math.lgamma(start + factors) - math.lgamma(start)


def _binned(values: NDArray[np.floating]) -> Binned:
    """Return ``BINS`` equally full bins of the values, or fewer if many values are equal."""
    edges = np.unique(np.quantile(values.astype(np.float64), np.arange(1, BINS) / BINS))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Binned(edges=edges.tolist(), counts=counts.tolist())
