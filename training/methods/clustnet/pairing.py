"""Which clusters of different coarse labels share an expert: those that a weak classifier separates best.

For two coarse labels this is the assignment problem, which has an exact solution. For three or more it is the
multi-dimensional assignment problem with decomposable costs, which is NP-hard. Labels are then placed one after the
other, from each label as the first (the recursive heuristic of Bandelt, Crama, Spieksma, "Approximation algorithms for
multi-dimensional assignment problems with decomposable costs", Discrete Applied Mathematics 49, 1994), and one or two
labels at a time are matched again with the others until nothing is gained (the dimensionwise search of Karapetyan,
Gutin, "Local search heuristics for the multidimensional assignment problem", Journal of Heuristics 17, 2011).
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression

from clustnet.errors import UserError

# Images of each cluster, half of them to fit and half to score.
PAIRING_IMAGES = 300
# A smaller gain is a rounding error.
SMALLEST_GAIN = 1e-9
NO_CLUSTER = -1

Pixels = NDArray[np.float32]
Labels = NDArray[np.int64]
Floats = NDArray[np.float64]
# For each pair of labels, the first before the second, how separable their clusters are: float64 [clusters, clusters].
Separability = dict[tuple[int, int], Floats]


def paired(
    pixels: Sequence[Pixels], clusters: Sequence[Labels], counts: Sequence[int], generator: np.random.Generator
) -> list[Labels]:
    """Return the expert of each image, for each of the K coarse labels int64 [N].

    Cluster i of the first label has expert i.

    Args:
        pixels: pixels of each label's images, float32 [N, pixels].
        clusters: cluster of each image of a label, int64 [N], 0 to the label's count - 1.
        counts: how many clusters each label has; the largest is the number of experts that are used.
        generator: draws the images that clusters are compared by.
    """
    samples = [
        [group[generator.permutation(np.flatnonzero(found == cluster))[:PAIRING_IMAGES]] for cluster in range(count)]
        for group, found, count in zip(pixels, clusters, counts, strict=True)
    ]
    separability = {
        (first, second): np.array([[_separability(one, other) for other in samples[second]] for one in samples[first]])
        for first, second in combinations(range(len(counts)), 2)
    }
    experts = assigned(separability, counts)
    return [expert[found] for expert, found in zip(experts, clusters, strict=True)]


def paired_clusters(
    pixels: Callable[[Labels], Pixels], clusters: Labels, coarse: Labels, labels: int, experts: int, seed: int
) -> tuple[Labels, Labels]:
    """Return the images that have a cluster, label after label, and their experts, both int64 [M].

    Args:
        pixels: takes the indices of images, int64 [n], and returns their pixels, float32 [n, pixels].
        clusters: int64 [N], the cluster of each image within its coarse label; ``NO_CLUSTER`` for none.
        coarse: int64 [N], coarse labels 0 to K - 1.
        labels: K, how many coarse labels there are.
        experts: E, how many experts there are.
        seed: seeds the choice of the images that clusters are compared by.

    Raises:
        UserError: a coarse label has more clusters than there are experts.
    """
    members = [np.flatnonzero((coarse == label) & (clusters != NO_CLUSTER)) for label in range(labels)]
    counts = [int(clusters[member].max(initial=0)) + 1 for member in members]
    if max(counts) > experts:
        raise UserError(
            f"The partition has {max(counts)} clusters of one coarse label, but model.experts is {experts}; raise it."
        )
    generator = np.random.default_rng(seed)
    found = paired([pixels(member) for member in members], [clusters[member] for member in members], counts, generator)
    return np.concatenate(members), np.concatenate(found)


def assigned(separability: Separability, counts: Sequence[int]) -> list[Labels]:
    """Return the expert of each cluster, for each of the K coarse labels int64 [clusters].

    The clusters of a label have different experts, such that the clusters of each expert are easy to separate: the sum
    that ``total`` returns is large, and for two labels the largest possible.

    Args:
        separability: separability of the clusters of each pair of labels, 0 or more.
        counts: how many clusters each label has.
    """
    labels, best = range(len(counts)), None
    for first in labels:
        placed = _placed(separability, counts, [first, *(label for label in labels if label != first)])
        # Two labels are placed as well as they can be.
        found = _improved(separability, placed) if len(counts) > 2 else placed
        if best is None or total(separability, found) > total(separability, best) + SMALLEST_GAIN:
            best = found
    assert best is not None  # noqa: S101 - there is at least one label
    in_order = best[:, np.argsort(np.where(best[0] == NO_CLUSTER, counts[0], best[0]), kind="stable")]
    return [
        np.argsort(np.where(row == NO_CLUSTER, len(row), row), kind="stable")[:count]
        for row, count in zip(in_order, counts, strict=True)
    ]


def total(separability: Separability, placed: Labels) -> float:
    """Return the sum over experts of the separability of each pair of an expert's clusters.

    Args:
        separability: separability of the clusters of each pair of labels.
        placed: int64 [K, E], the cluster of each label at each expert, ``NO_CLUSTER`` for none.
    """
    return float(sum(_between(separability, placed, first, second).trace() for first, second in separability))


def _placed(separability: Separability, counts: Sequence[int], order: Sequence[int]) -> Labels:
    """Return clusters placed at experts label after label, int64 [K, E]: each label where it gains the most."""
    placed = np.full((len(counts), max(counts)), NO_CLUSTER)
    placed[order[0], : counts[order[0]]] = np.arange(counts[order[0]])
    used = counts[order[0]]
    for step, label in enumerate(order[1:], start=1):
        alone = placed.copy()
        alone[label, : counts[label]] = np.arange(counts[label])
        gain = np.add.reduce([_between(separability, alone, other, label) for other in order[:step]])
        rows, columns = linear_sum_assignment(gain[:used, : counts[label]], maximize=True)
        placed[label, rows] = columns
        left = np.setdiff1d(np.arange(counts[label]), columns)
        placed[label, used : used + len(left)] = left
        used = max(used, counts[label])
    return placed


def _improved(separability: Separability, placed: Labels) -> Labels:
    """Return a placement that is not improved by matching one or two labels with all others again."""
    labels = range(len(placed))
    subsets = [subset for size in (1, 2) for subset in combinations(labels, size) if size < len(placed)]
    before = -np.inf
    while total(separability, placed) > before + SMALLEST_GAIN:
        before = total(separability, placed)
        for moved in subsets:
            fixed = [label for label in labels if label not in moved]
            gain = np.add.reduce([_between(separability, placed, one, other) for one in fixed for other in moved])
            rows, columns = linear_sum_assignment(gain, maximize=True)
            if gain[rows, columns].sum() > gain.trace() + SMALLEST_GAIN:
                placed = placed.copy()
                placed[list(moved)] = placed[list(moved)][:, columns]
    return placed


def _between(separability: Separability, placed: Labels, first: int, second: int) -> Floats:
    """Return the separability of the first label's cluster at each expert from the second's at each, float64 [E, E]."""
    table = separability[first, second] if first < second else separability[second, first].T
    # The last row and column stand for no cluster.
    found: Floats = np.pad(table, (0, 1))[np.ix_(placed[first], placed[second])]
    return found


def _separability(one: Pixels, other: Pixels) -> float:
    """Return how well a linear classifier, the weakest expert, separates two clusters: held-out accuracy."""
    images, labels = np.concatenate([one, other]), np.repeat([0, 1], [len(one), len(other)])
    fit, score = np.arange(len(labels)) % 2 == 0, np.arange(len(labels)) % 2 == 1
    if len(np.unique(labels[fit])) < 2:
        return 0.0
    weak = LogisticRegression(C=0.01).fit(images[fit], labels[fit])
    return float(weak.score(images[score], labels[score]))
