import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score

from training.grow.hierarchy import Hierarchy
from training.grow.scores import scores_of, transfer_of, walk_scores


def test_two_children_as_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth, found = generator.integers(0, 2, 50), generator.integers(0, 2, 50)
    scores = scores_of(found, truth, 2, positive=1)
    assert scores.images == 50
    assert scores.accuracy == pytest.approx(accuracy_score(truth, found))
    assert scores.sensitivity == pytest.approx(recall_score(truth, found, pos_label=1))
    assert scores.specificity == pytest.approx(recall_score(truth, found, pos_label=0))
    assert scores_of(found, truth, 2, positive=0).sensitivity == pytest.approx(scores.specificity)


def test_many_children_are_averaged() -> None:
    generator = np.random.default_rng(1)
    truth, found = generator.integers(0, 4, 80), generator.integers(0, 4, 80)
    scores = scores_of(found, truth, 4, positive=0)
    assert scores.sensitivity == pytest.approx(recall_score(truth, found, average="macro"))
    others = [recall_score(truth != child, found != child) for child in range(4)]
    assert scores.specificity == pytest.approx(np.mean(others))


def test_transfer_by_hand() -> None:
    nan = np.nan
    matrix = np.array([[0.9, nan, nan], [0.95, 0.8, nan], [0.7, 0.75, 0.6]])
    found = transfer_of(matrix, [0.7, 0.5])
    assert found.forgetting == pytest.approx(((0.95 - 0.7) + (0.8 - 0.75)) / 2)
    assert found.backward_transfer == pytest.approx(((0.7 - 0.9) + (0.75 - 0.8)) / 2)
    assert found.forward_transfer == pytest.approx(((0.8 - 0.7) + (0.6 - 0.5)) / 2)
    assert transfer_of(matrix, None).forward_transfer is None
    assert transfer_of(matrix[:1, :1], None).forgetting == 0


def test_transfer_as_avalanche() -> None:
    # It takes a hundred packages, so no extra installs it, and its own imports warn.
    reason = "avalanche-lib is not installed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = pytest.importorskip("avalanche.evaluation.metrics.forgetting_bwt", reason=reason)
    accuracy = np.random.default_rng(2).uniform(size=(4, 4))
    # Avalanche forgets from when a task was learnt, we from its best; here the two are the same.
    matrix = np.where(np.tri(4, dtype=bool), np.minimum(accuracy, accuracy.diagonal()), np.nan)
    forgetting, backward = metrics.Forgetting(), metrics.BWT()
    for step, row in enumerate(matrix):
        for node in range(step + 1):
            for metric in (forgetting, backward):
                metric.update(node, row[node], initial=step == node)
    found = transfer_of(matrix, None)
    assert found.forgetting == pytest.approx(np.mean([forgetting.result()[node] for node in range(3)]))
    assert found.backward_transfer == pytest.approx(np.mean([backward.result()[node] for node in range(3)]))


def test_severity_is_the_height_of_mistakes() -> None:
    hierarchy = Hierarchy.of([("a", "x"), ("a", "y"), ("b", "z"), ("b", "w")])
    truth = [("a", "x"), ("a", "x"), ("a", "x")]
    found = walk_scores([("a", "x"), ("a", "y"), ("b", "z")], truth, hierarchy)
    assert found.leaf_accuracy == pytest.approx(1 / 3)
    assert found.mistake_severity == pytest.approx((1 + 2) / 2)
    assert walk_scores(truth, truth, hierarchy).mistake_severity == 0
