"""How many clusters there are, estimated without labels."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

# The largest number of clusters that is tried.
MAX_CLUSTERS = 30
# Random starts of k-means for each number of clusters.
STARTS = 3
# Rows that are sampled at most; the cost of the silhouette grows with the square of their number.
SAMPLE_ROWS = 2000


def silhouettes(rows: NDArray[np.float32], seed: int) -> dict[int, float]:
    """Return the average silhouette of k-means for each number of clusters from 2 to ``MAX_CLUSTERS``.

    The highest belongs to the most likely number. The silhouette of a row says how much nearer it lies to its own
    cluster than to the next, -1 to 1 (Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of
    cluster analysis", J. Comput. Appl. Math. 20, 1987).

    Args:
        rows: float32 [N, D], N at least 3; at most ``SAMPLE_ROWS`` of them are used.
        seed: seeds k-means and the sample.
    """
    sample = rows[np.random.default_rng(seed).permutation(len(rows))[:SAMPLE_ROWS]]
    counts = range(2, min(MAX_CLUSTERS, len(sample) - 1) + 1)
    return {count: _silhouette(sample, count, seed) for count in counts}


def _silhouette(rows: NDArray[np.float32], count: int, seed: int) -> float:
    found = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(rows)
    return float(silhouette_score(rows, found)) if len(np.unique(found)) > 1 else -1.0


def most_likely(scores: dict[int, float]) -> int:
    """Return the number of clusters with the highest average silhouette; the smallest if several have it."""
    return max(scores, key=lambda count: (scores[count], -count))


def describe(scores: dict[int, float]) -> str:
    """Return a line that says which number was chosen, with the silhouettes of all."""
    listed = ", ".join(f"{count}: {score:.3f}" for count, score in scores.items())
    return f"clusters: {most_likely(scores)}, which has the highest average silhouette ({listed})"
