"""Agglomerative clustering of a neighbour graph, which follows clusters of any shape, such as a turning object's views.

Zhang, Wang, Zhao, Tang, "Graph Degree Linkage: Agglomerative Clustering on a Directed Graph", ECCV 2012,
arXiv:1208.5092.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

# Share of the mean cluster size; smaller clusters do not count.
LEAST_SHARE = 0.25

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def degree_linkage(rows: NDArray[np.float32], clusters: int, neighbours: int) -> Labels:
    """Cluster rows: join each to its nearest neighbour, then repeatedly merge the two clusters of highest affinity.

    Unlike the paper's, this returns the last state in which exactly as many clusters as requested have at least
    ``LEAST_SHARE`` of the mean size, if there is one, and merges each smaller cluster into the one of these to which
    its affinity is highest. So a few outliers do not take the place of a cluster.

    Args:
        rows: float32 [N, D].
        clusters: number of clusters, at most N.
        neighbours: number of neighbours of each row in the graph; fewer than a cluster has rows.

    Returns:
        int64 [N], ``clusters`` clusters numbered from 0, or fewer if joining nearest neighbours leaves fewer.
    """
    distances, nearest = NearestNeighbors(n_neighbors=min(neighbours, len(rows) - 1)).fit(rows).kneighbors()
    weights = _weights(distances, nearest)
    labels = _joined(nearest[:, 0])
    sums = _Sums(weights, labels)
    least, kept = LEAST_SHARE * len(rows) / clusters, None
    for _ in range(int(labels.max()) + 1 - clusters):
        first, second = np.unravel_index(sums.affinity().argmax(), sums.shared.shape)
        labels = np.where(labels == second, first, labels)
        sums.merge(int(first), int(second), labels)
        if (sums.sizes >= least).sum() == clusters:
            kept = labels
    return (
        np.unique(labels, return_inverse=True)[1].astype(np.int64)
        if kept is None
        else _without_small(weights, kept, least)
    )


class _Sums:
    """The sums that the affinity of clusters is computed from; a cluster that was merged into another has size 0.

    Args:
        weights: [N, N], the weight of row j as a neighbour of row i.
        labels: [N], the cluster of each row, 0 to M - 1.
    """

    def __init__(self, weights: csr_array, labels: Labels) -> None:
        member = np.eye(labels.max() + 1)[labels]
        # [M, N], from the rows of a cluster to each row.
        self.incoming: Floats = (weights.T @ member).T
        # [M, N], from each row to those of a cluster.
        self.outgoing: Floats = (weights @ member).T
        # [M, M], summed over the rows of the second.
        self.shared: Floats = (self.incoming * self.outgoing) @ member
        self.sizes: Floats = member.sum(axis=0)

    def affinity(self) -> Floats:
        """Return the affinity of each pair of clusters, [M, M], -1 on the diagonal and where there is no cluster."""
        each = self.shared / np.maximum(self.sizes, 1)[:, None] ** 2
        affinity: Floats = each + each.T
        np.fill_diagonal(affinity, -1)
        gone = self.sizes == 0
        affinity[gone], affinity[:, gone] = -1, -1
        return affinity

    def merge(self, first: int, second: int, labels: Labels) -> None:
        """Merge the second cluster into the first, as ``labels`` already do."""
        for sums in (self.incoming, self.outgoing, self.sizes):
            sums[first] += sums[second]
            sums[second] = 0
        self.shared[:, first] += self.shared[:, second]
        self.shared[first] = np.bincount(labels, self.incoming[first] * self.outgoing[first], len(self.sizes))
        self.shared[second] = self.shared[:, second] = 0


def _weights(distances: Floats, nearest: Labels) -> csr_array:
    """Return the weights of each row's neighbours, [N, N]: Gaussians scaled by the mean squared distance."""
    squares = distances.astype(np.float64) ** 2
    weights = np.exp(-squares / max(float(squares.mean()), np.finfo(np.float64).tiny))
    rows, count = np.arange(len(nearest)), len(nearest)
    return csr_array((weights.ravel(), (np.repeat(rows, nearest.shape[1]), nearest.ravel())), shape=(count, count))


def _joined(nearest: Labels) -> Labels:
    """Return the components of the graph that joins each row to its nearest neighbour, int64 [N]."""
    count = len(nearest)
    graph = csr_array((np.ones(count), (np.arange(count), nearest)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _without_small(weights: csr_array, labels: Labels, least: float) -> Labels:
    """Merge each cluster smaller than ``least`` into the larger one of highest affinity; number the rest from 0."""
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    sums = _Sums(weights, labels)
    small = sums.sizes < least
    affinity = sums.affinity()
    affinity[:, small] = -2
    place = np.where(small, affinity.argmax(axis=1), np.arange(len(small)))
    return np.unique(place[labels], return_inverse=True)[1].astype(np.int64)
