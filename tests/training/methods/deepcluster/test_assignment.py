import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from training.methods.deepcluster.assignment import Assigned, assign, figures, filled, kmeans, unit, whitened
from training.methods.deepcluster.config import Assignment

HOW = Assignment(starts=5)


def blobs(clusters: int, images: int = 40) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return rows of length 1 around distant directions, and which."""
    generator = np.random.default_rng(0)
    labels = np.arange(clusters * images) % clusters
    return unit((np.eye(8)[labels] + generator.normal(0, 0.05, (len(labels), 8))).astype(np.float32)), labels


def test_whitening_is_that_of_the_eigenvectors() -> None:
    features = np.random.default_rng(0).normal(size=(200, 6)) @ np.diag([9, 5, 3, 2, 1, 0.1])
    centred = features - features.mean(axis=0)
    variances, vectors = np.linalg.eigh(np.cov(features.T))
    expected = centred @ vectors[:, :-4:-1] / np.sqrt(variances[:-4:-1])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = whitened(features.astype(np.float32), 3, 0)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)


def test_components_without_variance_are_left_out() -> None:
    features = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float32)
    # Five images differ in four directions.
    assert whitened(features, 256, 0).shape == (5, 4)


def test_easy_clusters_are_found_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    rows, labels = blobs(6)
    assert adjusted_rand_score(labels, kmeans(rows, 6, HOW, 0)) == 1


def test_faiss_finds_the_same_clusters() -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    rows, labels = blobs(6)
    assert adjusted_rand_score(labels, kmeans(rows, 6, HOW, 0)) == 1


def test_empty_clusters_get_half_of_the_largest() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    made = filled(rows, np.array([0] * 16 + [3] * 4), 4)
    assert made.split == 2
    assert np.bincount(made.clusters).tolist() == [4, 8, 4, 4] or sorted(np.bincount(made.clusters)) == [4, 4, 4, 8]


def test_equal_images_are_split_too() -> None:
    made = filled(np.ones((6, 2), np.float32), np.zeros(6, np.int64), 3)
    assert (made.split, np.bincount(made.clusters).min()) == (2, 1)


def test_clusters_stay_inside_their_coarse_label() -> None:
    rows, labels = blobs(4)
    coarse = (labels >= 3).astype(np.int64)
    made = assign(lambda members: rows[members], coarse, (3, 2), HOW, 0)
    assert set(made.clusters[coarse == 0]) == {0, 1, 2}
    assert set(made.clusters[coarse == 1]) == {3, 4}
    assert adjusted_rand_score(labels[coarse == 0], made.clusters[coarse == 0]) == 1


def test_figures_are_those_of_scikit_learn() -> None:
    before, now = (np.random.default_rng(seed).integers(0, 4, 50) for seed in (0, 1))
    found = figures(before, Assigned(now, 1), 5)
    assert found["assignment/nmi"] == pytest.approx(normalized_mutual_info_score(before, now))
    table = np.array([[((before == a) & (now == b)).sum() for b in range(5)] for a in range(4)])
    assert found["assignment/reassigned"] == pytest.approx(1 - table.max(axis=1).sum() / 50)
    sizes = np.bincount(now, minlength=5)
    assert [found[f"assignment/{key}"] for key in ("smallest", "largest", "split")] == [0, sizes.max(), 1]


def test_the_same_clusters_renumbered_change_nothing() -> None:
    before = np.arange(30) % 3
    found = figures(before, Assigned((before + 1) % 3, 0), 3)
    assert found["assignment/nmi"] == pytest.approx(1)
    assert found["assignment/reassigned"] == 0


def test_nothing_is_shared_with_no_clusters() -> None:
    found = figures(None, Assigned(np.arange(30) % 3, 0), 3)
    assert found["assignment/nmi"] == 0
    assert found["assignment/reassigned"] == pytest.approx(2 / 3)
