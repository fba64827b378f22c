"""Several clusterings of the same images: what they agree on (Strehl, Ghosh, "Cluster Ensembles", JMLR 3, 2002)."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

# Starts of k-means.
STARTS = 20

Labels = NDArray[np.int64]


def consensus(members: list[Labels], weights: NDArray[np.float64], clusters: int, seed: int) -> Labels:
    """Return the clustering nearest to several: k-means on the images' memberships, each weighted.

    Args:
        members: clusterings, each int64 [N].
        weights: [members], how much each counts.
        clusters: how many clusters there are.
        seed: of k-means' starts.
    """
    memberships = [np.eye(clusters)[member] * np.sqrt(weight) for member, weight in zip(members, weights, strict=True)]
    means = KMeans(clusters, n_init=STARTS, random_state=seed)
    found: Labels = means.fit_predict(np.concatenate(memberships, axis=1)).astype(np.int64)
    return found


def agreement(labels: Labels, members: list[Labels], weights: NDArray[np.float64]) -> float:
    """Return the weighted mean normalised mutual information of a clustering with the members other than itself."""
    others = [index for index, member in enumerate(members) if member is not labels]
    shared = [normalized_mutual_info_score(labels, members[index]) for index in others]
    return float(np.average(shared, weights=weights[others]))
