"""The first clusters, found in a pre-trained embedding without labels."""

import warnings
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

NEIGHBOURS, COMPONENTS, UMAP_EPOCHS = 20, 5, 200
SAMPLE = 10_000  # images that UMAP sees; the others are clustered by a vote of their nearest among them
VOTERS = 10

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def first_clusters(
    embeddings: Floats, clusters: int, start: Literal["kmeans", "manifold"], starts: int, seed: int
) -> Labels:
    """Cluster embeddings by k-means, or by k-means on their manifold.

    The manifold is UMAP's (McInnes, Healy, Melville, arXiv:1802.03426), as in McConville, Santos-Rodriguez, Piechocki,
    Craddock, "N2D: (Not Too) Deep Clustering via Clustering the Local Manifold of an Autoencoded Embedding", ICPR
    2020, arXiv:1908.05968.

    Args:
        embeddings: float32 [N, D].
        clusters: how many, at most N.
        start: ``kmeans`` or ``manifold``.
        starts: of k-means, of which the tightest is kept.
        seed: of everything random.

    Returns:
        int64 [N], 0 to clusters - 1.
    """
    means = KMeans(clusters, n_init=starts, random_state=seed)
    if start == "kmeans":
        return _labels(means.fit_predict(embeddings))
    generator = np.random.default_rng(seed)
    sample = np.sort(generator.permutation(len(embeddings))[:SAMPLE])
    found = _labels(means.fit_predict(_manifold(embeddings[sample], seed)))
    voters = KNeighborsClassifier(min(VOTERS, len(sample))).fit(embeddings[sample], found)
    everyone = _labels(voters.predict(embeddings))
    everyone[sample] = found
    return everyone


def _manifold(rows: Floats, seed: int) -> Floats:
    """Return UMAP's embedding of rows, float32 [N, COMPONENTS]."""
    from umap import UMAP  # here, because it compiles itself for seconds

    neighbours = min(NEIGHBOURS, len(rows) - 1)
    distances, nearest = NearestNeighbors(n_neighbors=neighbours).fit(rows).kneighbors(rows)
    umap = UMAP(
        neighbours,
        COMPONENTS,
        n_epochs=UMAP_EPOCHS,
        min_dist=0.0,
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(nearest, distances),
        force_approximation_algorithm=True,
    )
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn")  # it could embed no further images, which nobody asks for
        embedded: Floats = umap.fit_transform(rows)
    torch.set_num_threads(threads)  # numba sets it for the whole process, and sums depend on it to the last bit
    return embedded


def _labels(found: NDArray[np.integer]) -> Labels:
    return found.astype(np.int64)
