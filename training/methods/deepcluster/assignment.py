"""From features to clusters: whitened principal components, k-means, and no cluster left empty.

Caron, Bojanowski, Joulin, Douze, "Deep Clustering for Unsupervised Learning of Visual Features", ECCV 2018,
arXiv:1807.05520, section 3.3. k-means is faiss's where that is installed (Johnson, Douze, Jegou, arXiv:1702.08734), and
scikit-learn's elsewhere.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score

from clustnet.encoders.encoder import unit
from training.methods.deepcluster.config import Assignment

Floats = NDArray[np.float32]
Clusters = NDArray[np.int64]
# Least variance of a principal component, as a share of the first one's.
LEAST_VARIANCE = 1e-6


class Assigned(NamedTuple):
    """The cluster of each image.

    Args:
        clusters: cluster of each image, int64 [N], 0 to E - 1.
        split: number of empty clusters that were given half of the largest one.
    """

    clusters: Clusters
    split: int


def whitened(features: Floats, components: int, seed: int) -> Floats:
    """Return whitened principal components of length 1, float32 [N, P].

    Components that hardly vary are left out, as whitening would make them as large as the others.

    Args:
        features: float32 [N, D].
        components: largest number of components P.
        seed: seeds every random choice.
    """
    analysis = PCA(min(components, *features.shape), random_state=seed)
    rows, variances = analysis.fit_transform(features), analysis.explained_variance_
    kept = variances > LEAST_VARIANCE * variances.max()
    return unit((rows[:, kept] / np.sqrt(variances[kept])).astype(np.float32))


def assign(
    rows: Callable[[NDArray[np.bool_]], Floats],
    coarse: Clusters,
    clusters: Sequence[int],
    how: Assignment,
    seed: int,
) -> Assigned:
    """Cluster the images of each coarse label among themselves.

    Args:
        rows: takes a mask of images, bool [N], and returns what they are clustered by, float32 [M, D] of length 1.
        coarse: int64 [N], coarse labels 0 to K - 1.
        clusters: number of clusters of each of the K coarse labels; those of the first are numbered first.
        how: how k-means is run.
        seed: seeds every random choice.
    """
    found, split, before = np.zeros(len(coarse), np.int64), 0, 0
    for label, count in enumerate(clusters):
        members = coarse == label
        own = rows(members)
        part = filled(own, kmeans(own, count, how, seed), count)
        found[members] = part.clusters + before
        split, before = split + part.split, before + count
    return Assigned(found, split)


def kmeans(rows: Floats, clusters: int, how: Assignment, seed: int) -> Clusters:
    """Return the cluster of each row, int64 [N], by k-means from random rows; some may stay empty.

    Args:
        rows: float32 [N, D], N at least ``clusters``.
        clusters: number of clusters.
        how: iterations and starts.
        seed: seeds the starts.
    """
    try:
        import faiss  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ModuleNotFoundError:
        means = KMeans(clusters, init="random", n_init=how.starts, max_iter=how.iterations, random_state=seed)
        found: Clusters = means.fit_predict(rows).astype(np.int64)
        return found
    # Without these limits faiss would cluster a sample, and warn of too few rows.
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": len(rows)}
    trained = faiss.Kmeans(rows.shape[1], clusters, niter=how.iterations, nredo=how.starts, seed=seed % 2**31, **limits)
    trained.train(np.ascontiguousarray(rows))
    nearest: Clusters = trained.index.search(np.ascontiguousarray(rows), 1)[1][:, 0].astype(np.int64)
    return nearest


def filled(rows: Floats, found: Clusters, clusters: int) -> Assigned:
    """Give each empty cluster half of the largest one, so that none is missing from training.

    Args:
        rows: float32 [N, D], N at least ``clusters``.
        found: cluster of each row, int64 [N].
        clusters: number of clusters.
    """
    found, empty = found.copy(), np.flatnonzero(np.bincount(found, minlength=clusters) == 0)
    for cluster in empty:
        members = np.flatnonzero(found == np.bincount(found).argmax())
        # Halved along the feature that varies most; equal rows are halved as well.
        along = rows[members][:, rows[members].var(axis=0).argmax()]
        found[members[np.argsort(along, kind="stable")[len(members) // 2 :]]] = cluster
    return Assigned(found, len(empty))


def figures(before: Clusters | None, now: Assigned, clusters: int) -> dict[str, float]:
    """Return what changed since the last assignment, and how large the clusters are.

    Args:
        before: clusters of the last assignment, int64 [N]; None before the first, as if all images were in one.
        now: the new assignment.
        clusters: number of clusters.

    Returns:
        ``assignment/nmi``, the NMI (arithmetic mean) of both assignments; ``assignment/reassigned``, the share of
        images that are no longer with most of their former cluster; the sizes of the smallest and the largest cluster;
        and how many were split.
    """
    old = np.zeros_like(now.clusters) if before is None else before
    sizes = np.bincount(now.clusters, minlength=clusters)
    pairs = np.unique(np.stack([old, now.clusters]), axis=1, return_counts=True)
    most: dict[int, int] = {}
    for cluster, count in zip(pairs[0][0].tolist(), pairs[1].tolist(), strict=True):
        most[cluster] = max(most.get(cluster, 0), count)
    return {
        "assignment/nmi": float(normalized_mutual_info_score(old, now.clusters)),
        "assignment/reassigned": 1 - sum(most.values()) / len(old),
        "assignment/smallest": float(sizes.min()),
        "assignment/largest": float(sizes.max()),
        "assignment/split": float(now.split),
    }
