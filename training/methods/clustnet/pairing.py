"""Which clusters of the two coarse groups share an expert: those that a weak classifier tells apart best."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression

PAIRING_IMAGES = 300  # of each cluster, half of them to fit and half to score

Pixels = NDArray[np.float32]
Labels = NDArray[np.int64]


def paired(
    pixels: tuple[Pixels, Pixels],
    clusters: tuple[Labels, Labels],
    counts: tuple[int, ...],
    generator: np.random.Generator,
) -> tuple[Labels, Labels]:
    """Return the expert of each image of both groups, int64 [N0] and [N1].

    Cluster i of the first group has expert i; a cluster of the second without a partner gets an expert of its own.

    Args:
        pixels: of each group, float32 [N, pixels].
        clusters: of each group, int64 [N], 0 to its count - 1.
        counts: how many clusters each group has.
        generator: of the images that clusters are compared by.
    """
    samples = [
        [group[generator.permutation(np.flatnonzero(found == cluster))[:PAIRING_IMAGES]] for cluster in range(count)]
        for group, found, count in zip(pixels, clusters, counts, strict=True)
    ]
    separable = np.array([[_separability(one, other) for other in samples[1]] for one in samples[0]])
    rows, columns = linear_sum_assignment(separable, maximize=True)
    expert = np.full(counts[1], -1)
    expert[columns] = rows
    expert[expert < 0] = np.arange(counts[0], counts[0] + (expert < 0).sum())
    return clusters[0], expert[clusters[1]]


def _separability(one: Pixels, other: Pixels) -> float:
    """Return how well a linear classifier, the weakest expert, tells two clusters apart: held-out accuracy."""
    images, labels = np.concatenate([one, other]), np.repeat([0, 1], [len(one), len(other)])
    fit, score = np.arange(len(labels)) % 2 == 0, np.arange(len(labels)) % 2 == 1
    if len(np.unique(labels[fit])) < 2:
        return 0.0
    weak = LogisticRegression(C=0.01).fit(images[fit], labels[fit])
    return float(weak.score(images[score], labels[score]))
