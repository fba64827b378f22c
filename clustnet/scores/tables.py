"""Clustering scores computed from a table of counts: any number of images is scored without holding their labels."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Table = NDArray[np.int64]


def matched_share(table: Table) -> float:
    """Return the share of images in the class that the best one-to-one matching gives their cluster, 0 to 1.

    The matching is found by the Hungarian algorithm (Kuhn 1955); clusters beyond the number of classes stay unmatched
    and count as wrong (Xie et al., "Unsupervised Deep Embedding", 2016).

    Args:
        table: int64 [classes, clusters] images, at least one.
    """
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def purity(table: Table) -> float:
    """Return the share of images in the most frequent class of their cluster, 0 to 1.

    Args:
        table: int64 [classes, clusters] images, at least one.
    """
    return float(table.max(axis=0).sum() / table.sum())


def nmi(table: Table) -> float:
    """Return the mutual information divided by the arithmetic mean of both entropies, 0 to 1, as scikit-learn does.

    Args:
        table: int64 [classes, clusters] images, at least one.
    """
    joint = table / table.sum()
    classes, clusters = joint.sum(axis=1), joint.sum(axis=0)
    entropies = _entropy(classes) + _entropy(clusters)
    # There is only one class and one cluster.
    if entropies == 0:
        return 1.0
    shared = entropies - _entropy(joint.ravel())
    return float(np.clip(2 * shared / entropies, 0, 1))


def ari(table: Table) -> float:
    """Return the adjusted Rand index (Hubert and Arabie, "Comparing partitions", 1985), -0.5 to 1.

    Args:
        table: int64 [classes, clusters] images, at least one.
    """
    # Python's integers, because the squared number of pairs of 10^9 images would overflow int64.
    pairs = _pairs(table.ravel())
    rows, columns, everything = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0)), _pairs(table.sum(keepdims=True))
    if pairs == rows == columns:
        return 1.0
    return 2 * (pairs * everything - rows * columns) / ((rows + columns) * everything - 2 * rows * columns)


def _entropy(shares: NDArray[np.float64]) -> float:
    """Return the entropy in nats of shares that sum to 1."""
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())


def _pairs(counts: Table) -> int:
    """Return the number of pairs of images that lie in the same entry of the table."""
    return sum(count * (count - 1) // 2 for count in counts.ravel().tolist())
