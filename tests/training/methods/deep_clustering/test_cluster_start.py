from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clustnet.errors import UserError
from clustnet.scores.scores import clustering_accuracy
from training.methods.deep_clustering import cluster_start
from training.methods.deep_clustering.cluster_start import Floats, first_clusters
from training.methods.deep_clustering.config import Clustering

KINDS, ROWS = 4, 120
TRUTH = np.arange(ROWS) % KINDS


@pytest.fixture(scope="module")
def rows() -> Floats:
    """Four clear heaps."""
    noise = np.random.default_rng(0).normal(size=(ROWS, KINDS))
    return (10 * np.eye(KINDS)[TRUTH] + noise).astype(np.float32)


@pytest.mark.parametrize("how", [{"start": "kmeans"}, {"start": "manifold"}, {"start": "graph", "neighbours": 5}])
def test_each_start_finds_clear_clusters_from_sample(
    monkeypatch: pytest.MonkeyPatch, rows: Floats, how: dict[str, Any]
) -> None:
    monkeypatch.setattr(cluster_start, "MAX_SAMPLE_IMAGES", 80)
    found = first_clusters(rows, KINDS, Clustering(**how), seed=0)
    assert found.dtype == np.int64
    assert clustering_accuracy(found, TRUTH) == 1.0


def _torn_at_first() -> tuple[Callable[..., Floats], list[tuple[Floats, int]]]:
    """A manifold that joins two heaps and tears a third whenever it is asked for the first time."""
    asked: list[tuple[Floats, int]] = []

    def manifold(sample: Floats, _neighbours: int, seed: int) -> Floats:
        asked.append((sample, seed))
        if len(asked) > 1:
            return sample
        torn = sample.copy()
        torn[:, 0] = np.maximum(torn[:, 0], torn[:, 1])
        torn[:, 1] = 0
        torn[::2, 2] *= -1
        return torn

    return manifold, asked


@pytest.mark.parametrize(("manifolds", "right"), [(1, False), (5, True)])
def test_several_manifolds_outvote_torn_one(
    monkeypatch: pytest.MonkeyPatch, rows: Floats, manifolds: int, right: bool
) -> None:
    manifold, asked = _torn_at_first()
    monkeypatch.setattr(cluster_start, "manifold", manifold)
    monkeypatch.setattr(cluster_start, "MAX_SAMPLE_IMAGES", 80)
    found = first_clusters(rows, KINDS, Clustering(start="manifold", manifolds=manifolds), seed=0)
    assert (clustering_accuracy(found, TRUTH) == 1.0) == right
    assert len(asked) == manifolds
    assert len({sample.tobytes() for sample, _ in asked}) == len({seed for _, seed in asked}) == manifolds


def test_same_seed_finds_same_clusters(rows: Floats) -> None:
    how = Clustering(start="manifold", manifolds=2)
    first, again = (first_clusters(rows, KINDS, how, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_graph_of_too_few_clusters_is_refused() -> None:
    rows = (
        np.repeat(np.arange(4, dtype=np.float32) * 100, 3)[:, None]
        + np.tile(np.arange(3, dtype=np.float32), 4)[:, None]
    )
    how = Clustering(start="graph", neighbours=2)
    assert len(np.unique(first_clusters(rows, 4, how, 0))) == 4
    with pytest.raises(
        UserError, match="The graph of 12 training images falls into 4 clusters, not 6; give more images"
    ):
        first_clusters(rows, 6, how, 0)
