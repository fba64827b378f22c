"""Clusters of each coarse label, chosen without labels."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from training.discover.clustering import automatic, cluster, describe, largest_first, voted


def _blobs(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.random.default_rng(seed).normal(size=(sum(sizes), 6)) + 8 * np.eye(len(sizes), 6)[truth]
    return rows.astype(np.float32), truth


def test_clear_clusters_are_found() -> None:
    rows, truth = _blobs([60, 40, 30])
    found, candidates = cluster(rows, 3, 0)
    assert adjusted_rand_score(found, truth) > 0.95
    assert len(candidates) == 16
    assert candidates[0].rank == min(candidate.rank for candidate in candidates)
    assert "3 subtypes of 60, 40, 30 images" in describe("ok", largest_first(found), candidates)


def test_auto_finds_rather_too_many() -> None:
    rows, _ = _blobs([60, 60, 60])
    assert automatic(rows, 0) == 6


@pytest.mark.parametrize(("images", "most"), [(1, 1), (3, 1), (20, 1), (30, 2), (1000, 12)])
def test_auto_keeps_images_for_each(images: int, most: int) -> None:
    rows, _ = _blobs([images])
    assert 1 <= automatic(rows, 0) <= most


@pytest.mark.parametrize("images", [1, 2, 5, 9])
def test_few_images_are_clustered(images: int) -> None:
    rows, _ = _blobs([images])
    found, _ = cluster(rows, 4, 0)
    assert len(found) == images
    assert found.max() < min(4, images)


def test_equal_images_are_clustered() -> None:
    found, _ = cluster(np.ones((40, 4), np.float32), None, 0)
    assert len(found) == 40


def test_the_rest_follows_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.discover.clustering.SAMPLE_IMAGES", 90)
    rows, truth = _blobs([80, 60, 40])
    found, _ = cluster(rows, 3, 0)
    assert adjusted_rand_score(found, truth) > 0.95


def test_neighbours_vote() -> None:
    rows, truth = _blobs([20, 20])
    assert voted(rows, truth, rows).tolist() == truth.tolist()
    assert len(voted(rows, truth, rows[:0])) == 0


def test_clusters_are_numbered_by_size() -> None:
    assert largest_first(np.array([2, 0, 2, 1, 2, 1])).tolist() == [0, 2, 0, 1, 0, 1]
