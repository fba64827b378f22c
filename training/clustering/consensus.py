"""What several clusterings of the same images agree on (Strehl, Ghosh, "Cluster Ensembles", JMLR 3, 2002)."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

# Random starts of k-means.
STARTS = 20

Labels = NDArray[np.int64]


def consensus(
    members: list[Labels], weights: NDArray[np.float64], clusters: int, seed: int, starts: int = STARTS
) -> Labels:
    """Return the clustering nearest to all members: k-means on the images' weighted memberships.

    Args:
        members: clusterings, each int64 [N].
        weights: float64 [members], how much each member counts.
        clusters: number of clusters.
        seed: seeds k-means.
        starts: number of random starts of k-means.
    """
    memberships = [np.eye(clusters)[member] * np.sqrt(weight) for member, weight in zip(members, weights, strict=True)]
    means = KMeans(clusters, n_init=starts, random_state=seed)
    found: Labels = means.fit_predict(np.concatenate(memberships, axis=1)).astype(np.int64)
    return found


def agreement(labels: Labels, members: list[Labels], weights: NDArray[np.float64]) -> float:
    """Return the weighted mean adjusted Rand index between a clustering and the members other than itself."""
    others = [index for index, member in enumerate(members) if member is not labels]
    shared = [adjusted_rand_score(labels, members[index]) for index in others]
    return float(np.average(shared, weights=weights[others]))


def left_out_agreement(
    members: list[Labels], weights: NDArray[np.float64], clusters: int, seed: int, starts: int = STARTS
) -> float:
    """Return the weighted mean adjusted Rand index between each member and the consensus of the others.

    It measures how well a consensus agrees with a clustering that had no part in it.

    Args:
        members: two or more clusterings, each int64 [N].
        weights: float64 [members], how much each member counts.
        clusters: number of clusters.
        seed: seeds k-means.
        starts: number of random starts of k-means.
    """
    shared = []
    for left in range(len(members)):
        others = [index for index in range(len(members)) if index != left]
        common = consensus([members[index] for index in others], weights[others], clusters, seed, starts)
        shared.append(adjusted_rand_score(common, members[left]))
    return float(np.average(shared, weights=weights))
