"""The first clusters, found in a pre-trained embedding without labels."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier

from training.manifold import manifold
from training.methods.degree_linkage import degree_linkage
from training.recipe import Clustering

SAMPLE = 10_000  # images that UMAP sees; the others are clustered by a vote of their nearest among them
VOTERS = 10

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def first_clusters(embeddings: Floats, clusters: int, how: Clustering, seed: int) -> Labels:
    """Cluster embeddings, or other rows, by k-means, by k-means on their manifold, or along their neighbour graph.

    The manifold is UMAP's (McInnes, Healy, Melville, arXiv:1802.03426), as in McConville, Santos-Rodriguez, Piechocki,
    Craddock, "N2D: (Not Too) Deep Clustering via Clustering the Local Manifold of an Autoencoded Embedding", ICPR
    2020, arXiv:1908.05968.
    The graph is that of ``training.methods.degree_linkage``.

    Args:
        embeddings: float32 [N, D].
        clusters: how many, at most N.
        how: which of the three, with how many starts of k-means and neighbours of each row.
        seed: of everything random.

    Returns:
        int64 [N], 0 to clusters - 1.
    """
    means = KMeans(clusters, n_init=how.starts, random_state=seed)
    if how.start == "kmeans":
        return _labels(means.fit_predict(embeddings))
    generator = np.random.default_rng(seed)
    sample = np.sort(generator.permutation(len(embeddings))[:SAMPLE])
    if how.start == "graph":
        found = degree_linkage(embeddings[sample], clusters, how.neighbours)
    else:
        found = _labels(means.fit_predict(manifold(embeddings[sample], how.neighbours, seed)))
    voters = KNeighborsClassifier(min(VOTERS, len(sample))).fit(embeddings[sample], found)
    everyone = _labels(voters.predict(embeddings))
    everyone[sample] = found
    return everyone


def clustered_space(embeddings: Floats, how: Clustering, seed: int) -> Floats:
    """Return the space in which ``first_clusters`` clusters embeddings, of at most ``SAMPLE`` of them if a manifold."""
    if how.start != "manifold":
        return embeddings
    sample = np.random.default_rng(seed).permutation(len(embeddings))[:SAMPLE]
    return manifold(embeddings[sample], how.neighbours, seed)


def _labels(found: NDArray[np.integer]) -> Labels:
    return found.astype(np.int64)
