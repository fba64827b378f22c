"""The step ``cluster``: divide each coarse label into subtypes by the best of many clusterings, chosen without labels.

Each candidate is a clustering in the coordinates of UMAP (McInnes, Healy, Melville, arXiv:1802.03426) with one size of
neighbourhood, by k-means or by a Gaussian mixture with full, diagonal or spherical covariances; with few images, full
covariances overfit. Candidates are ranked by their mean adjusted Rand index to the others and by their silhouette in
one UMAP that all share; the one with the best mean of the two ranks is chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from training.clustering.cluster_count import most_likely, silhouettes
from training.clustering.manifold import manifold

# Sizes of UMAP's neighbourhood; all candidates are compared in the UMAP with the first.
NEIGHBOURS = (20, 10, 15, 30)
COVARIANCES = ("full", "diag", "spherical")
K_MEANS = "k-means"
STARTS = 3
# Images of a coarse label that are clustered, at most; the others take the most frequent cluster of their neighbours.
SAMPLE_IMAGES = 10_000
VOTERS = 10
SILHOUETTE_IMAGES = 3000
# ``auto`` takes twice the likely number within these bounds, but no more than one subtype for this many images.
LEAST_SUBTYPES, MOST_SUBTYPES, IMAGES_A_SUBTYPE = 4, 12, 12

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Candidate:
    """A clustering of the images of one coarse label.

    Args:
        name: size of neighbourhood and model, as in ``umap 20, diag``.
        clusters: int64 [N], clusters of the images that were clustered.
        agreement: mean adjusted Rand index to the others.
        silhouette: mean silhouette in the shared UMAP.
        rank: mean of the two ranks; 1 for the best in both.
    """

    name: str
    clusters: Labels
    agreement: float
    silhouette: float
    rank: float

    def row(self) -> dict[str, object]:
        """Return the candidate as a row of a table, without its clusters."""
        return {
            "candidate": self.name,
            "agreement": self.agreement,
            "silhouette": self.silhouette,
            "rank": self.rank,
        }


def cluster(rows: Floats, count: int | None, seed: int) -> tuple[Labels, list[Candidate]]:
    """Return the cluster of each image of a coarse label, int64 [N], and the candidates, the chosen one first.

    Args:
        rows: float32 [N, D].
        count: how many clusters; None for ``auto``.
        seed: seeds everything random.
    """
    sample = np.sort(np.random.default_rng(seed).permutation(len(rows))[:SAMPLE_IMAGES])
    chosen = rows[sample]
    if len(rows) < 2 or count == 1:
        return np.zeros(len(rows), np.int64), []
    coordinates = {neighbours: _manifold(chosen, neighbours, seed) for neighbours in NEIGHBOURS}
    shared = coordinates[NEIGHBOURS[0]]
    count = min(count or automatic(shared, seed), len(chosen))
    if count == 1:
        return np.zeros(len(rows), np.int64), []
    found = {
        f"umap {neighbours}, {model}": _modelled(places, model, count, seed)
        for neighbours, places in coordinates.items()
        for model in (*COVARIANCES, K_MEANS)
    }
    candidates = _ranked(found, shared, seed)
    clusters = np.empty(len(rows), np.int64)
    clusters[sample] = candidates[0].clusters
    rest = np.setdiff1d(np.arange(len(rows)), sample)
    clusters[rest] = voted(chosen, candidates[0].clusters, rows[rest])
    return clusters, candidates


def automatic(rows: Floats, seed: int) -> int:
    """Return a number of clusters that is probably too large: twice the one with the best silhouette, within bounds.

    The number cannot be estimated reliably, and it is easier to merge two clusters than to divide one.
    """
    likely = most_likely(silhouettes(rows, seed)) if len(rows) > 3 else 1
    most = max(1, min(MOST_SUBTYPES, len(rows) // IMAGES_A_SUBTYPE))
    return int(np.clip(2 * likely, min(LEAST_SUBTYPES, most), most))


def voted(rows: Floats, clusters: Labels, others: Floats) -> Labels:
    """Return the most frequent cluster among the nearest neighbours of each other image, int64 [M].

    Args:
        rows: float32 [N, D], the images that were clustered.
        clusters: int64 [N], their clusters.
        others: float32 [M, D], the other images.
    """
    if not len(others):
        return np.empty(0, np.int64)
    nearest = NearestNeighbors(n_neighbors=min(VOTERS, len(rows))).fit(rows).kneighbors(others, return_distance=False)
    votes = np.eye(clusters.max() + 1, dtype=np.int64)[clusters[nearest]].sum(axis=1)
    found: Labels = votes.argmax(axis=1).astype(np.int64)
    return found


def _manifold(rows: Floats, neighbours: int, seed: int) -> Floats:
    """Return the UMAP of the rows, or the rows themselves if there are too few."""
    return manifold(rows, neighbours, seed) if len(rows) > neighbours + 5 else rows


def _modelled(rows: Floats, model: str, count: int, seed: int) -> Labels:
    """Return the cluster of each row by k-means or a mixture, int64 [N], numbered from 0 without gaps."""
    if model == K_MEANS:
        found = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(rows)
    else:
        # A little is added to the variances, so that equal rows cause no error.
        mixture = GaussianMixture(count, covariance_type=model, n_init=STARTS, random_state=seed, reg_covar=1e-4)
        found = mixture.fit_predict(rows.astype(np.float64))
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _ranked(found: dict[str, Labels], shared: Floats, seed: int) -> list[Candidate]:
    """Return the candidates, the best first."""
    names, labels = list(found), list(found.values())
    table = np.array([[adjusted_rand_score(one, other) for other in labels] for one in labels])
    agreement = (table.sum(axis=1) - 1) / max(1, len(labels) - 1)
    some = np.random.default_rng(seed).permutation(len(shared))[:SILHOUETTE_IMAGES]
    silhouette = [_silhouette(shared[some], label[some]) for label in labels]
    rank = (rankdata(-agreement, "average") + rankdata(-np.array(silhouette), "average")) / 2
    candidates = [
        Candidate(*values) for values in zip(names, labels, agreement.tolist(), silhouette, rank.tolist(), strict=True)
    ]
    return sorted(candidates, key=lambda candidate: candidate.rank)


def _silhouette(rows: Floats, clusters: Labels) -> float:
    return float(silhouette_score(rows, clusters)) if 1 < len(np.unique(clusters)) < len(rows) else -1.0


def largest_first(clusters: Labels) -> Labels:
    """Return the clusters renumbered by size, from 0 for the largest."""
    counts = np.bincount(clusters)
    order = np.argsort(-counts, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    found: Labels = place[clusters]
    return found


def describe(label: str, clusters: Labels, candidates: Sequence[Candidate]) -> str:
    """Return one line that says how the images of a coarse label were clustered."""
    sizes = ", ".join(f"{size:,}" for size in np.bincount(clusters))
    if not candidates:
        return f"cluster: {label}: 1 subtype of {sizes} images"
    best = candidates[0]
    return (
        f"cluster: {label}: {clusters.max() + 1} subtypes of {sizes} images; {best.name} of {len(candidates)} "
        f"candidates (agreement {best.agreement:.2f}, silhouette {best.silhouette:.2f})"
    )
