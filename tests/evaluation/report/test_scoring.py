import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.scores.scores import reliability, routing_scores
from evaluation.report.scoring import evaluate, group_confusion, score
from tests.evaluation.made_up import DIGITS, HALVES, answers_from, evaluation

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(seeds)
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    made = evaluation(seed=seed)
    answers, labels = made.answers, made.data.labels
    assert made.scores["class_accuracy"] == pytest.approx(accuracy_score(labels, answers.guess))
    assert made.scores["negative_log_likelihood"] == pytest.approx(
        log_loss(labels, _rows_of_one(answers.class_probability), labels=range(10)), rel=1e-5
    )
    assert made.scores["abstained"] == pytest.approx((answers.confidence < 0.6).mean())
    assert made.scores["mean_class_probability"] == pytest.approx(answers.class_probability.max(axis=1).mean())
    np.testing.assert_array_equal(made.tally.confusion, confusion_matrix(labels, answers.guess, labels=range(10)))


def _rows_of_one(probability: np.ndarray) -> np.ndarray:
    """scikit-learn warns of rows that sum to one in float32 only."""
    wide = probability.astype(np.float64)
    return wide / wide.sum(axis=1, keepdims=True)


def test_calibration_errors_are_those_of_the_guess_and_of_the_coarse_label() -> None:
    made = evaluation(200)
    answers, labels = made.answers, made.data.labels
    guess = reliability(answers.guess_probability, answers.guess == labels)
    coarse = reliability(answers.coarse_probability, (answers.coarse_label == "5-9") == (labels > 4))
    assert made.scores["calibration_error"] == pytest.approx(guess.error)
    assert made.scores["binary_calibration_error"] == pytest.approx(coarse.error)


def test_scores_contain_those_of_the_routing() -> None:
    made = evaluation()
    positive = (made.answers.coarse_label == "5-9") * 1.0
    expected = routing_scores(made.answers.routing, positive, made.data.labels, HALVES)
    assert made.scores["binary_accuracy"] == 0.5
    assert {key: made.scores[key] for key in expected} == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_an_impossible_class_keeps_the_likelihood_finite() -> None:
    labels = np.array([0])
    answers = answers_from(labels, np.ones((1, 1)), np.eye(10)[[1]])
    assert score(answers, labels, HALVES)["negative_log_likelihood"] == pytest.approx(-math.log(1e-12))


def test_a_coarse_label_beyond_the_groups_is_refused() -> None:
    made = evaluation()
    others = CoarseGrouping(("0-4", "high"), HALVES.groups)
    with pytest.raises(UserError, match="label '5-9', but the groups are '0-4' and 'high'; correct --coarse"):
        score(made.answers, made.data.labels, others)


@settings(deadline=None)
@given(seeds, st.integers(1, 6), st.sampled_from([(0, 1, 2, 3, 4), (5, 7), (9, 8, 6)]))
def test_the_diagonal_within_a_group_is_the_best_of_all_matchings(
    seed: int, experts: int, group: tuple[int, ...]
) -> None:
    made = evaluation(experts=experts, seed=seed)
    labels, expert = made.data.labels, made.answers.expert
    found = group_confusion(made.tally, group)
    assert (sorted(found.classes), sorted(found.experts)) == (sorted(group), list(range(experts)))
    for r, c in np.ndindex(found.table.shape):
        assert found.table[r, c] == ((labels == found.classes[r]) & (expert == found.experts[c])).sum()
    assert found.table.trace() == max(_matched(found.table, order) for order in _orders(found.table))


def _orders(table: np.ndarray) -> list[tuple[int, ...]]:
    size = max(table.shape)
    return list(permutations(range(size)))


def _matched(table: np.ndarray, order: tuple[int, ...]) -> int:
    return sum(table[r, c] for r, c in enumerate(order) if r < table.shape[0] and c < table.shape[1])


def test_no_images_are_refused() -> None:
    empty = LabelledImages("made-up", "dev", np.zeros((0, 28, 28), np.uint8), np.zeros(0, int), DIGITS, (0.5,), (0.5,))
    with pytest.raises(UserError, match="The split dev of made-up holds no images"):
        evaluate(object(), empty)  # type: ignore[arg-type]
