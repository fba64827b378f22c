"""The first clusters, found in a pre-trained embedding without labels."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier

from clustnet.errors import UserError
from training.clustering.consensus import consensus
from training.clustering.degree_linkage import degree_linkage
from training.clustering.manifold import manifold
from training.methods.deep_clustering.config import Clustering

# Images that UMAP or the graph sees; all others are clustered by a vote of their nearest among these.
MAX_SAMPLE_IMAGES = 10_000
VOTERS = 10

Floats = NDArray[np.float32]
Clusters = NDArray[np.int64]


def first_clusters(embeddings: Floats, clusters: int, how: Clustering, seed: int) -> Clusters:
    """Cluster embeddings, or other rows, by k-means, by k-means on their manifold, or along their neighbour graph.

    The manifold is UMAP's (McInnes, Healy, Melville, arXiv:1802.03426), as in McConville, Santos-Rodriguez, Piechocki,
    Craddock, "N2D: (Not Too) Deep Clustering via Clustering the Local Manifold of an Autoencoded Embedding", ICPR
    2020, arXiv:1908.05968. One manifold may split a cluster or join two; of several, each of its own random sample, the
    consensus is taken.
    The graph is that of ``training.clustering.degree_linkage``.

    Args:
        embeddings: float32 [N, D].
        clusters: number of clusters, at most N.
        how: which of the three, and the numbers of manifolds, starts of k-means and neighbours of each row.
        seed: seeds every random choice.

    Returns:
        int64 [N], 0 to clusters - 1.

    Raises:
        UserError: the graph has fewer clusters, as each row starts in the same cluster as its nearest neighbour.
    """
    if how.start == "kmeans":
        return _nearest_means(embeddings, clusters, how, seed)
    generator = np.random.default_rng(seed)
    if how.start == "graph":
        sample = _sample(embeddings, generator)
        found = degree_linkage(embeddings[sample], clusters, how.neighbours)
        if found.max() + 1 < clusters:
            few = f"The graph of {len(sample)} training images falls into {found.max() + 1} clusters, not {clusters}"
            raise UserError(f"{few}; give more images, lower model.experts, or start with kmeans or manifold.")
        return _extended(found, sample, embeddings)
    members = [_on_a_manifold(embeddings, clusters, how, generator) for _ in range(how.manifolds)]
    return consensus(members, np.ones(len(members)), clusters, seed) if len(members) > 1 else members[0]


def clustered_space(embeddings: Floats, how: Clustering, seed: int) -> Floats:
    """Return the space in which ``first_clusters`` clusters embeddings; a manifold is of a sample of them."""
    if how.start != "manifold":
        return embeddings
    sample = np.random.default_rng(seed).permutation(len(embeddings))[:MAX_SAMPLE_IMAGES]
    return manifold(embeddings[sample], how.neighbours, seed)


def _on_a_manifold(embeddings: Floats, clusters: int, how: Clustering, generator: np.random.Generator) -> Clusters:
    """Cluster by k-means on the manifold of a new random sample."""
    sample, seed = _sample(embeddings, generator), int(generator.integers(2**31))
    rows = manifold(embeddings[sample], how.neighbours, seed)
    return _extended(_nearest_means(rows, clusters, how, seed), sample, embeddings)


def _nearest_means(rows: Floats, clusters: int, how: Clustering, seed: int) -> Clusters:
    """Cluster by k-means."""
    found: Clusters = KMeans(clusters, n_init=how.starts, random_state=seed).fit_predict(rows).astype(np.int64)
    return found


def _sample(embeddings: Floats, generator: np.random.Generator) -> Clusters:
    """Draw the rows that the first clusters are found among, sorted."""
    return np.sort(generator.permutation(len(embeddings))[:MAX_SAMPLE_IMAGES])


def _extended(found: Clusters, sample: Clusters, embeddings: Floats) -> Clusters:
    """Give all embeddings a cluster, those outside the sample by the vote of their nearest in it."""
    voters = KNeighborsClassifier(min(VOTERS, len(sample))).fit(embeddings[sample], found)
    everyone: Clusters = voters.predict(embeddings).astype(np.int64)
    everyone[sample] = found
    return everyone
