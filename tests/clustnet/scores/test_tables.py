import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from clustnet.scores.scores import clustering_accuracy
from clustnet.scores.tables import ari, matched_share, nmi

tables = arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.integers(0, 6)).filter(np.any)


@given(tables)
def test_scores_are_those_of_scikit_learn(table: np.ndarray) -> None:
    classes, clusters = (np.repeat(places, table.ravel()) for places in np.indices(table.shape).reshape(2, -1))
    assert nmi(table) == pytest.approx(normalized_mutual_info_score(classes, clusters), abs=1e-12)
    assert ari(table) == pytest.approx(adjusted_rand_score(classes, clusters), abs=1e-12)
    assert matched_share(table) == pytest.approx(clustering_accuracy(clusters, classes))


def test_a_thousand_million_images_do_not_overflow() -> None:
    table = 10**8 * (np.eye(10, dtype=np.int64) * 9 + 1)
    assert ari(table) == pytest.approx(ari(table // 10**5), abs=1e-4)
    assert nmi(table) == pytest.approx(nmi(table // 10**8))
