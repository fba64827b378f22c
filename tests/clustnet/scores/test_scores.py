import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, roc_auc_score

from clustnet.bundles.groups import CoarseGrouping
from clustnet.bundles.routing import routing_entropy
from clustnet.datasets import UNKNOWN
from clustnet.scores.scores import (
    auroc,
    cells,
    clustering_accuracy,
    expert_load,
    idle_experts,
    reliability,
    routing_scores,
)

HALVES = CoarseGrouping(("low", "high"), ((0, 1), (2, 3)))
pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def best_by_brute_force(clusters: np.ndarray, classes: np.ndarray) -> float:
    """The best share over every one-to-one assignment of five clusters to five classes."""
    return max(float((np.array(names)[clusters] == classes).mean()) for names in permutations(range(5)))


@settings(deadline=None)
@given(pairs)
def test_clustering_accuracy_is_the_best_of_all_matchings(drawn: list[tuple[int, int]]) -> None:
    clusters, classes = np.array(drawn).T
    assert clustering_accuracy(clusters, classes) == pytest.approx(best_by_brute_force(clusters, classes))


def test_clusters_beyond_the_classes_count_as_wrong() -> None:
    assert clustering_accuracy(np.array([0, 1, 2, 3]), np.zeros(4, int)) == 0.25
    assert clustering_accuracy(np.zeros(4, int), np.array([0, 1, 2, 3])) == 0.25


def test_clustering_accuracy_of_nothing_is_nan() -> None:
    assert math.isnan(clustering_accuracy(np.array([], int), np.array([], int)))


def one_hot(experts: list[int], count: int) -> np.ndarray:
    return np.eye(count)[experts]


def test_a_perfect_routing_scores_one_everywhere() -> None:
    fine = np.array([0, 1, 2, 3] * 5)
    scores = routing_scores(one_hot([0, 1, 1, 0] * 5, 2), (fine >= 2) * 1.0, fine, HALVES)
    assert scores.pop("routing_entropy") == pytest.approx(0, abs=1e-9)
    assert [scores.pop(f"expert_load/{e}") for e in (0, 1)] == [0.5, 0.5]
    assert scores == pytest.approx(
        dict.fromkeys(
            ["binary_accuracy", "group_accuracy/low", "group_accuracy/high", "cell_accuracy", "nmi", "ari"], 1
        )
    )


def test_one_expert_for_everything_scores_the_largest_class() -> None:
    fine = np.array([0, 0, 0, 1, 2, 3])
    scores = routing_scores(one_hot([1] * 6, 3), (fine >= 2) * 1.0, fine, HALVES)
    assert scores["group_accuracy/low"] == 0.75
    assert scores["group_accuracy/high"] == 0.5
    assert scores["cell_accuracy"] == pytest.approx(4 / 6)
    assert idle_experts(scores) == [0, 2]


def test_agreement_scores_have_their_textbook_values() -> None:
    """Manning, Raghavan, Schuetze, "Introduction to Information Retrieval", figure 16.4: NMI 0.36."""
    clusters = [0] * 6 + [1] * 6 + [2] * 5
    classes = [0] * 5 + [1] + [1] * 4 + [0, 2] + [0] * 2 + [2] * 3
    fine = np.array(classes)
    one_group = CoarseGrouping(("all", "none"), ((0, 1, 2), (3,)))
    scores = routing_scores(one_hot(clusters, 3), np.zeros(17), fine, one_group)
    assert scores["nmi"] == pytest.approx(0.36, abs=0.005)
    assert scores["ari"] == pytest.approx(0.24, abs=0.005)
    assert scores["cell_accuracy"] == pytest.approx(12 / 17)
    assert math.isnan(scores["group_accuracy/none"])


@given(st.integers(0, 2**32 - 1))
def test_cells_are_compared_as_scikit_learn_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    routing = generator.dirichlet(np.ones(3), 50).astype(np.float32)
    positive, fine = generator.random(50), generator.integers(0, 4, 50)
    scores = routing_scores(routing, positive, fine, HALVES)
    cell = [2 * int(np.argmax(g)) + int(p > 0.5) for g, p in zip(routing, positive, strict=True)]
    np.testing.assert_array_equal(cells(routing, positive), cell)
    assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(fine, cell))
    assert scores["ari"] == pytest.approx(adjusted_rand_score(fine, cell))
    assert scores["binary_accuracy"] == pytest.approx(((positive > 0.5) == (fine >= 2)).mean())
    assert sum(expert_load(routing)) == pytest.approx(1)


def test_routing_entropy_runs_from_nothing_to_ln_of_the_experts() -> None:
    routing = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]], np.float32)
    np.testing.assert_allclose(routing_entropy(routing), [0, math.log(4), math.log(2)], atol=1e-9)


def test_the_calibration_error_is_the_one_computed_by_hand() -> None:
    """Two bins: 0.2 and 0.4 with one right, 0.9 alone and wrong."""
    found = reliability(np.array([0.2, 0.4, 0.9]), np.array([True, False, False]), bins=2)
    np.testing.assert_array_equal(found.images, [2, 1])
    np.testing.assert_allclose(found.confidence, [0.3, 0.9])
    np.testing.assert_allclose(found.accuracy, [0.5, 0])
    assert found.error == pytest.approx(2 / 3 * 0.2 + 1 / 3 * 0.9)


def test_a_bin_holds_its_upper_edge_and_none_is_beyond() -> None:
    found = reliability(np.array([0, 0.5, 1, 1.0000001], np.float32), np.ones(4, bool), bins=2)
    np.testing.assert_array_equal(found.images, [2, 2])
    assert reliability(np.array([0.1]), np.array([True])).error == pytest.approx(0.9)


def test_the_calibration_of_nothing_is_nan() -> None:
    assert math.isnan(reliability(np.array([]), np.array([], bool)).error)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_the_calibration_error_is_that_of_a_plain_loop(seed: int, images: int) -> None:
    generator = np.random.default_rng(seed)
    confidence, right = generator.random(images), generator.random(images) < 0.7
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert reliability(confidence, right).error == pytest.approx(expected)


scores_of_images = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)


@given(scores_of_images, scores_of_images)
def test_auroc_is_the_share_of_pairs_in_order(drawn_inliers: list[float], drawn_outliers: list[float]) -> None:
    inliers, outliers = np.array(drawn_inliers), np.array(drawn_outliers)
    pairs = np.sign(inliers[:, None] - outliers[None, :])
    assert auroc(inliers, outliers) == pytest.approx((pairs / 2 + 0.5).mean())
    truth = [1] * len(inliers) + [0] * len(outliers)
    assert auroc(inliers, outliers) == pytest.approx(roc_auc_score(truth, [*inliers, *outliers]))


def test_auroc_of_one_side_alone_is_nan() -> None:
    assert math.isnan(auroc(np.array([]), np.array([1.0])))
    assert math.isnan(auroc(np.array([1.0]), np.array([])))


def test_images_whose_class_is_not_told_count_for_load_and_entropy_alone() -> None:
    routing = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], np.float32)
    fine, nothing = np.array([0, 1, UNKNOWN, UNKNOWN]), np.zeros(4)
    found = routing_scores(routing, nothing, fine, CoarseGrouping.whole(2))
    told = routing_scores(routing[:2], nothing[:2], fine[:2], CoarseGrouping.whole(2))
    for score in ("cell_accuracy", "nmi", "ari"):
        assert found[score] == told[score] == 1
    assert (found["expert_load/0"], found["expert_load/1"]) == (0.5, 0.5)
    assert found["routing_entropy"] != told["routing_entropy"]
    unlabelled = routing_scores(routing, nothing, np.full(4, UNKNOWN), CoarseGrouping(("a", "b"), ((0,), (1,))))
    assert {key for key, value in unlabelled.items() if not np.isnan(value)} == {
        "expert_load/0",
        "expert_load/1",
        "routing_entropy",
    }
