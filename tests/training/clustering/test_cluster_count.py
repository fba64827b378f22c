import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score

from training.clustering.cluster_count import MAX_CLUSTERS, describe, most_likely, silhouettes


@pytest.mark.parametrize("clusters", [2, 3, 7, 12])
def test_the_number_of_blobs_is_found(clusters: int) -> None:
    rows, _ = make_blobs(40 * clusters, 8, centers=clusters, center_box=(-20, 20), random_state=clusters)
    scores = silhouettes(rows.astype(np.float32), seed=0)
    assert most_likely(scores) == clusters
    assert list(scores) == list(range(2, MAX_CLUSTERS + 1))


def test_a_silhouette_is_scikit_learns() -> None:
    rows = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    scores = silhouettes(rows, seed=0)
    assert scores[2] == pytest.approx(silhouette_score(rows, [0, 0, 1, 1]))
    assert list(scores) == [2, 3]


def test_equal_rows_have_no_clusters() -> None:
    with pytest.warns(UserWarning, match="distinct clusters"):
        assert set(silhouettes(np.ones((5, 2), np.float32), seed=0).values()) == {-1.0}


def test_the_smallest_of_equals_is_taken() -> None:
    scores = {2: 0.25, 3: 0.5, 4: 0.5}
    assert most_likely(scores) == 3
    assert describe(scores) == "clusters: 3, which has the highest average silhouette (2: 0.250, 3: 0.500, 4: 0.500)"
