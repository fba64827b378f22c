import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, adjusted_rand_score, normalized_mutual_info_score, roc_auc_score

from clustnet.bundles.groups import CoarseGrouping
from clustnet.bundles.routing import routing_entropy
from clustnet.datasets import UNKNOWN
from clustnet.scores.scores import (
    auroc,
    cells,
    clustering_accuracy,
    clustering_scores,
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
def test_clustering_accuracy_is_the_best_matching(drawn: list[tuple[int, int]]) -> None:
    clusters, classes = np.array(drawn).T
    assert clustering_accuracy(clusters, classes) == pytest.approx(best_by_brute_force(clusters, classes))


def test_clusters_beyond_the_classes_count_as_wrong() -> None:
    assert clustering_accuracy(np.array([0, 1, 2, 3]), np.zeros(4, int)) == 0.25
    assert clustering_accuracy(np.zeros(4, int), np.array([0, 1, 2, 3])) == 0.25


def one_hot(experts: list[int], count: int) -> np.ndarray:
    return np.eye(count)[experts]


def scores_of(
    routing: np.ndarray, coarse: np.ndarray, fine: np.ndarray, grouping: CoarseGrouping = HALVES
) -> dict[str, float]:
    """The scores of a routing whose coarse labels are these, against those of the classes."""
    labels = grouping.labels
    return routing_scores(routing, np.eye(len(labels))[coarse], grouping.coarse(fine), fine, labels)


def test_a_perfect_routing_scores_one() -> None:
    fine = np.array([0, 1, 2, 3] * 5)
    scores = scores_of(one_hot([0, 1, 1, 0] * 5, 2), fine // 2, fine)
    assert scores.pop("routing_entropy") == pytest.approx(0, abs=1e-9)
    assert [scores.pop(f"expert_load/{e}") for e in (0, 1)] == [0.5, 0.5]
    assert scores.pop("cells_in_use") == 4
    names = ["coarse_accuracy", "group_accuracy/low", "group_accuracy/high", "cell_accuracy", "purity", "nmi", "ari"]
    assert scores == pytest.approx(dict.fromkeys(names, 1))


def test_a_single_expert_scores_the_largest_class() -> None:
    fine = np.array([0, 0, 0, 1, 2, 3])
    scores = scores_of(one_hot([1] * 6, 3), fine // 2, fine)
    assert scores["group_accuracy/low"] == 0.75
    assert scores["group_accuracy/high"] == 0.5
    assert scores["cell_accuracy"] == pytest.approx(4 / 6)
    assert idle_experts(scores) == [0, 2]


def test_cells_that_share_classes_stay_pure() -> None:
    fine = np.repeat([0, 0, 1, 2], 50)
    scores = scores_of(one_hot(np.repeat([0, 1, 2, 0], 50).tolist(), 4), fine // 2, fine)
    assert (scores["cell_accuracy"], scores["purity"], scores["cells_in_use"]) == (0.75, 1.0, 4)
    # One image of 150 is less than 1 % of its coarse label.
    scores = scores_of(one_hot([0] * 149 + [1] + [2] * 50, 4), fine // 2, fine)
    assert scores["cells_in_use"] == 2


def test_agreement_scores_have_their_textbook_values() -> None:
    """Manning, Raghavan, Schuetze, "Introduction to Information Retrieval", figure 16.4: NMI 0.36."""
    clusters = [0] * 6 + [1] * 6 + [2] * 5
    classes = [0] * 5 + [1] + [1] * 4 + [0, 2] + [0] * 2 + [2] * 3
    one_group = CoarseGrouping(("some", "none"), ((0, 1, 2), (3,)))
    scores = scores_of(one_hot(clusters, 3), np.zeros(17, int), np.array(classes), one_group)
    assert scores["nmi"] == pytest.approx(0.36, abs=0.005)
    assert scores["ari"] == pytest.approx(0.24, abs=0.005)
    assert scores["cell_accuracy"] == pytest.approx(12 / 17)
    assert "group_accuracy/none" not in scores


@pytest.mark.parametrize("coarse", [1, 2, 3])
@given(seed=st.integers(0, 2**32 - 1))
def test_cells_are_compared_as_scikit_learn_does(seed: int, coarse: int) -> None:
    generator = np.random.default_rng(seed)
    routing = generator.dirichlet(np.ones(3), 50).astype(np.float32)
    probability, fine = generator.dirichlet(np.ones(coarse), 50), generator.integers(0, 6, 50)
    truth = fine % coarse
    scores = routing_scores(routing, probability, truth, fine, tuple("abc"[:coarse]))
    cell = [coarse * int(np.argmax(g)) + int(np.argmax(p)) for g, p in zip(routing, probability, strict=True)]
    np.testing.assert_array_equal(cells(routing, probability), cell)
    assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(fine, cell))
    assert scores["ari"] == pytest.approx(adjusted_rand_score(fine, cell))
    assert scores["cell_accuracy"] == clustering_accuracy(np.array(cell), fine)
    assert sum(scores[f"expert_load/{e}"] for e in range(3)) == pytest.approx(1)
    assert ("coarse_accuracy" in scores) == (coarse > 1)
    if coarse > 1:
        assert scores["coarse_accuracy"] == pytest.approx(accuracy_score(truth, probability.argmax(axis=1)))
        first = truth == 0
        expected = clustering_accuracy(routing.argmax(axis=1)[first], fine[first])
        assert scores["group_accuracy/a"] == pytest.approx(expected)


def test_routing_entropy_is_between_its_bounds() -> None:
    routing = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]], np.float32)
    np.testing.assert_allclose(routing_entropy(routing), [0, math.log(4), math.log(2)], atol=1e-9)


def test_the_calibration_error_is_as_by_hand() -> None:
    """Two bins: 0.2 and 0.4 with one right, 0.9 alone and wrong."""
    found = reliability(np.array([0.2, 0.4, 0.9]), np.array([True, False, False]), bins=2)
    np.testing.assert_array_equal(found.images, [2, 1])
    np.testing.assert_allclose(found.confidence, [0.3, 0.9])
    np.testing.assert_allclose(found.accuracy, [0.5, 0])
    assert found.error == pytest.approx(2 / 3 * 0.2 + 1 / 3 * 0.9)


def test_a_bin_holds_its_upper_edge() -> None:
    found = reliability(np.array([0, 0.5, 1, 1.0000001], np.float32), np.ones(4, bool), bins=2)
    np.testing.assert_array_equal(found.images, [2, 2])
    assert reliability(np.array([0.1]), np.array([True])).error == pytest.approx(0.9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_the_calibration_error_matches_a_plain_loop(seed: int, images: int) -> None:
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
def test_auroc_is_the_share_of_ordered_pairs(drawn_inliers: list[float], drawn_outliers: list[float]) -> None:
    inliers, outliers = np.array(drawn_inliers), np.array(drawn_outliers)
    pairs = np.sign(inliers[:, None] - outliers[None, :])
    assert auroc(inliers, outliers) == pytest.approx((pairs / 2 + 0.5).mean())
    truth = [1] * len(inliers) + [0] * len(outliers)
    assert auroc(inliers, outliers) == pytest.approx(roc_auc_score(truth, [*inliers, *outliers]))


def test_images_of_unknown_class_count_for_the_load() -> None:
    routing = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], np.float32)
    probability, zeros = np.ones((4, 1)), np.zeros(4, int)
    fine = np.array([0, 1, UNKNOWN, UNKNOWN])
    found = routing_scores(routing, probability, zeros, fine, ("all",))
    known = routing_scores(routing[:2], probability[:2], zeros[:2], fine[:2], ("all",))
    for score in ("cell_accuracy", "purity", "nmi", "ari"):
        assert found[score] == known[score] == 1
    assert (found["expert_load/0"], found["expert_load/1"]) == (0.5, 0.5)
    assert found["routing_entropy"] != known["routing_entropy"]


@pytest.mark.parametrize("coarse_known", [True, False])
def test_scores_without_their_truth_are_left_out(coarse_known: bool) -> None:
    routing, probability = np.full((4, 2), 0.5), np.eye(2)[[0, 0, 1, 1]]
    coarse = np.array([0, 1, 1, 1]) if coarse_known else np.full(4, UNKNOWN)
    found = routing_scores(routing, probability, coarse, np.full(4, UNKNOWN), ("a", "b"))
    assert found.pop("coarse_accuracy", None) == (0.75 if coarse_known else None)
    assert list(found) == ["cells_in_use", "expert_load/0", "expert_load/1", "routing_entropy"]


def test_clusters_of_unknown_classes_have_no_scores() -> None:
    clusters = np.array([0, 0, 1])
    assert clustering_scores(clusters, np.full(3, UNKNOWN)) == {}
    some = clustering_scores(clusters, np.array([2, 2, UNKNOWN]))
    assert some == {"accuracy": 1, "nmi": 1, "ari": 1}
