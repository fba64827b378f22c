"""Drift: whether live traffic still looks like the images that a model was made for, from its answers alone.

Four distributions are compared with the reference in the bundle's manifest: the load of the experts, the guess,
the confidence and the brightness. Two figures describe each:

- the *population stability index*, how large the shift is. It is Jeffreys' divergence between the two histograms; by
  custom under 0.1 is little, and above 0.25 is much. Yurdakul and Naranjo, "Statistical properties of the population
  stability index", Journal of Risk Model Validation 14(4), 2020, give the chi-squared distribution that it has without
  any shift, whose mean is taken off here, so that a short window does not look like drift.
- an *alarm*, whether the evidence is strong that the shift is more than little. It is an e-detector: Shin, Ramdas,
  Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", arXiv:2203.03532, a sum of
  e-processes that begin every so many images. Each of them is the likelihood of the images since its beginning under
  a learnt distribution, divided by the largest likelihood that any distribution within the tolerance gives them
  (Wasserman, Ramdas, Balakrishnan, "Universal inference", PNAS 117(29), 2020).

For independent images from any one distribution within the tolerance, the mean number of images to the first false
alarm is at least ``FALSE_ALARM_IMAGES``, over the four distributions together.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import Binned, DriftReference
from clustnet.bundles.class_map import guesses
from clustnet.bundles.predictor import Predictions

# Of confidence and brightness, equally full in the reference.
BINS = 10
# Of a window, which slides by a block.
BLOCKS = 10
# From the reference to the live distribution; about 0.1 of the population stability index.
TOLERANCE_NATS = 0.05
# Probability that the reference's own sampling error is larger than allowed for.
REFERENCE_FAULT_PROBABILITY = 0.001
FALSE_ALARM_IMAGES = 1_000_000
# What a learnt distribution begins with in each bin: Krichevsky and Trofimov, 1981.
PRIOR_IMAGES = 0.5
# On the way to the nearest distribution within the tolerance.
HALVINGS = 16

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Observed:
    """What is compared, of N images.

    Args:
        expert: int [N], the most probable expert.
        guess: int [N], the guessed subtype.
        confidence: float [N], above 0 to 1.
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
        """Return what is compared of a model's outputs for images.

        Args:
            outputs: outputs for one batch of images or more.
            images: uint8 [N, ...] of the same images, in batches of any size.
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
    """Return the mean pixel of images uint8 [N, ...], float64 [N], 0 to 1."""
    pixels = images.reshape(len(images), -1)
    brightness: NDArray[np.float64] = pixels.sum(axis=1, dtype=np.uint64) / (255 * pixels.shape[1])
    return brightness


def reference_of(observed: Observed, experts: int, classes: int, data: str, held_out: bool) -> DriftReference:
    """Return the reference that a manifest keeps.

    Args:
        observed: the model's answers for the reference images, at least one.
        experts: how many there are.
        classes: how many subtypes there are.
        data: where the images are from, for example ``mnist:train``.
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
        counts: int64 [bins], images of the window in each bin.
        psi: the population stability index, 0 or more.
        alarm: whether more than a little shift is certain.
    """

    counts: Counts
    psi: float
    alarm: bool


class Window:
    """The last images of a model's traffic; its memory does not grow.

    It slides by a tenth: full, it holds the last ``images``, or up to a tenth less.

    Args:
        reference: what the traffic is compared with.
        images: the length, ``BLOCKS`` or more.
    """

    def __init__(self, reference: DriftReference, images: int) -> None:
        self.reference = reference
        # In the window now.
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
        # Images that the newest block still takes.
        self._room = self._block
        self._rising = np.array([_log_rising(PRIOR_IMAGES, count) for count in range(BLOCKS * self._block + 1)])
        self._enough = math.log(len(counts) * (FALSE_ALARM_IMAGES / self._block + 1))

    def add(self, bins: NDArray[np.intp]) -> None:
        """Move the window on by N images in their order.

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
        # [blocks, 4, bins], of the newest block, the two newest, ...
        counts = self._blocks.cumsum(axis=0)
        alarms = np.logaddexp.reduce(self._log_evidence(counts), axis=0) >= self._enough
        return {
            name: Shift(live[:kinds], psi(np.array(was), live[:kinds]), bool(alarm))
            for (name, was), live, kinds, alarm in zip(
                self.reference.counts().items(), counts[-1], self._kinds, alarms, strict=True
            )
        }

    def _log_evidence(self, counts: Counts) -> NDArray[np.float64]:
        """Return the logarithm of each e-process, float64 [B, 4], of int64 [B, 4, bins]."""
        images = counts[:, 0].sum(axis=1).tolist()
        totals = np.array([[_log_rising(PRIOR_IMAGES * kinds, n) for kinds in self._kinds] for n in images])
        learnt: NDArray[np.float64] = self._rising[counts].sum(axis=2) - totals
        return learnt - best_log_likelihood(counts, self._reference, self._radius)


def psi(reference: Counts, live: Counts) -> float:
    """Return the population stability index of two histograms, less its mean without any shift, 0 or more.

    Half an image is added to every bin, so that an empty one gives no infinity.

    Args:
        reference: int [bins], counts of M images, at least one.
        live: int [bins], counts of N images; without any the index is 0.
    """
    if not live.sum():
        return 0.0
    was, now = ((counts + 0.5) / (counts + 0.5).sum() for counts in (reference, live))
    by_chance = (len(live) - 1) * (1 / reference.sum() + 1 / live.sum())
    return max(0.0, float(((now - was) * np.log(now / was)).sum() - by_chance))


def best_log_likelihood(
    counts: Counts, reference: NDArray[np.float64], radius: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the largest log-likelihood that a distribution near the reference gives counts, or very little more.

    Near are all distributions p with a divergence KL(reference || p) of ``radius`` at most. By Lagrange, the likeliest
    of them is a mixture of the counts' own shares and the reference.

    Args:
        counts: int64 [..., bins].
        reference: float64 [..., bins], which broadcasts to them.
        radius: float64 [...], likewise; in nats.
    """
    shares = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    entropy = _dot_log(reference, reference)
    # Bounds of the weight that the shares have in the mixture.
    low, high = np.zeros(counts.shape[:-1]), np.ones(counts.shape[:-1])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        near = entropy - _dot_log(reference, _mixed(shares, reference, middle)) <= radius
        low, high = np.where(near, middle, low), np.where(near, high, middle)
    # Just outside the tolerance, so that it is never too small.
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
    """Return the tolerance, and what the sampling error of a reference of ``images`` in ``kinds`` bins adds to it.

    Twice the images times the divergence is chi-squared (Wilks, 1938); its tail is bounded as by Laurent and Massart,
    "Adaptive estimation of a quadratic functional by model selection", 2000, lemma 1.
    """
    degrees, rare = kinds - 1, -math.log(REFERENCE_FAULT_PROBABILITY)
    return TOLERANCE_NATS + (degrees + 2 * math.sqrt(degrees * rare) + 2 * rare) / (2 * images)


def _log_rising(start: float, factors: int) -> float:
    """Return the logarithm of start (start + 1) (start + 2) ..."""
    return math.lgamma(start + factors) - math.lgamma(start)


def _binned(values: NDArray[np.floating]) -> Binned:
    """Return bins of a number that are equally full, or fewer where many values are the same."""
    edges = np.unique(np.quantile(values.astype(np.float64), np.arange(1, BINS) / BINS))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Binned(edges=edges.tolist(), counts=counts.tolist())
