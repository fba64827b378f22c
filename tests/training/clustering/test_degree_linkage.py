import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.cluster import KMeans

from clustnet.scores.scores import clustering_accuracy
from training.clustering.degree_linkage import _Sums, _weights, degree_linkage


def rings(rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Two interlocked rings in space, of so many rows each, and which is which."""
    turn = np.linspace(0, 2 * np.pi, rows, endpoint=False)
    flat = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    upright = np.stack([1 + np.cos(turn), 0 * turn, np.sin(turn)], axis=1)
    return np.concatenate([flat, upright]).astype(np.float32), np.repeat([0, 1], rows)


def test_rings_that_no_centres_tell_apart_are_found() -> None:
    rows, truth = rings()
    assert clustering_accuracy(degree_linkage(rows, 2, 6), truth) == 1
    assert clustering_accuracy(KMeans(2, n_init=3, random_state=0).fit_predict(rows), truth) < 0.95


def test_a_few_strange_rows_replace_no_cluster() -> None:
    rows, truth = rings()
    strange = np.array([[40, 0, 0], [40, 0.01, 0], [40, 0, 0.01]], np.float32)
    found = degree_linkage(np.concatenate([rows, strange]), 2, 6)
    assert clustering_accuracy(found[: len(truth)], truth) == 1
    assert set(found.tolist()) == {0, 1}


@given(st.integers(4, 25), st.integers(2, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_the_affinity_after_merges_is_the_published_sum(rows: int, merges: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    dense = generator.random((rows, rows)) * (generator.random((rows, rows)) < 0.5)
    np.fill_diagonal(dense, 0)
    labels = np.arange(rows)
    sums = _Sums(csr_array(dense), labels)
    for _ in range(min(merges, rows - 2)):
        first, second = np.sort(generator.choice(np.unique(labels), 2, replace=False)).tolist()
        labels = np.where(labels == second, first, labels)
        sums.merge(first, second, labels)
    affinity = sums.affinity()
    for a in np.unique(labels):
        for b in set(np.unique(labels).tolist()) - {a}:
            between, back = dense[np.ix_(labels == a, labels == b)], dense[np.ix_(labels == b, labels == a)]
            ones, others = np.ones(len(between)), np.ones(len(back))
            wanted = (
                ones @ between @ back @ ones / len(between) ** 2 + others @ back @ between @ others / len(back) ** 2
            )
            assert affinity[a, b] == pytest.approx(wanted)


def test_weights_are_gaussians_of_the_mean_squared_distance() -> None:
    weights = _weights(np.array([[1.0], [2.0]]), np.array([[1], [0]])).toarray()
    np.testing.assert_allclose(weights, [[0, np.exp(-1 / 2.5)], [np.exp(-4 / 2.5), 0]])


def test_rows_that_are_all_alike_are_clustered_somehow() -> None:
    found = degree_linkage(np.ones((12, 3), np.float32), 3, 4)
    assert len(found) == 12
    assert found.max() < 3
