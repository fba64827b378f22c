"""Clustering scores of a table of counts, for when there are too many images to hold their labels."""

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]


def nmi(table: Table) -> float:
    """Return the mutual information over the arithmetic mean of both entropies, 0 to 1, as scikit-learn does.

    Args:
        table: int64 [classes, clusters] images, at least one.
    """
    joint = table / table.sum()
    classes, clusters = joint.sum(axis=1), joint.sum(axis=0)
    entropies = _entropy(classes) + _entropy(clusters)
    if entropies == 0:  # one class and one cluster
        return 1.0
    shared = entropies - _entropy(joint.ravel())
    return float(np.clip(2 * shared / entropies, 0, 1))


def ari(table: Table) -> float:
    """Return the adjusted Rand index (Hubert and Arabie, "Comparing partitions", 1985), -0.5 to 1.

    Args:
        table: int64 [classes, clusters] images, at least one.
    """
    pairs = _pairs(table.ravel())  # Python's whole numbers: the squares of pairs of 10^9 images overflow int64
    rows, columns, everything = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0)), _pairs(table.sum(keepdims=True))
    if pairs == rows == columns:
        return 1.0
    return 2 * (pairs * everything - rows * columns) / ((rows + columns) * everything - 2 * rows * columns)


def _entropy(shares: NDArray[np.float64]) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())


def _pairs(counts: Table) -> int:
    return sum(count * (count - 1) // 2 for count in counts.ravel().tolist())
