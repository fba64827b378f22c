from dataclasses import fields
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from clustnet.bundles.answers import Answers
from clustnet.bundles.groups import UNKNOWN, CoarseGrouping
from clustnet.scores.scores import reliability, routing_scores
from clustnet.scores.tally import MAX_MISTAKES, MIN_PROBABILITY, Tally, group_confusion, scores_of, tally
from evaluation.report.scoring import Evaluation
from tests.evaluation.made_up import GROUPINGS, HALVES, Known, answers_from, evaluation

seeds = st.integers(0, 2**32 - 1)
each_grouping = pytest.mark.parametrize("grouping", GROUPINGS, ids=lambda grouping: str(len(grouping.labels)))
each_truth = pytest.mark.parametrize("known", ["fine", "coarse", "nothing", "some"])


def part(answers: Answers, rows: slice) -> Answers:
    values = [getattr(answers, field.name) for field in fields(Answers)[2:]]
    return Answers(answers.model, answers.coarse_labels, *(value[rows] for value in values))


def same(one: Tally, other: Tally) -> bool:
    tables = ("routed", "guessed", "guess_bins", "coarse_bins", "certainty")
    sums = ("abstained", "entropy", "probability", "surprise")
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in tables)
        and all(getattr(one, name) == getattr(other, name) for name in sums)
        and [m[:4] for m in one.mistakes] == [m[:4] for m in other.mistakes]
        and all(np.array_equal(a.image, b.image) for a, b in zip(one.mistakes, other.mistakes, strict=True))
    )


@each_grouping
@given(
    seed=seeds,
    cuts=st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True),
    known=st.sampled_from(["fine", "coarse", "nothing", "some"]),
    random=st.randoms(),
)
def test_parts_add_up_in_any_order(
    grouping: CoarseGrouping, seed: int, cuts: list[int], known: Known, random: object
) -> None:
    made = evaluation(100, seed=seed, grouping=grouping, known=known)
    data, edges = made.data, [0, *sorted(cuts), 100]
    parts = []
    for start, stop in pairwise(edges):
        rows = slice(start, stop)
        truth = data.coarse[rows], data.fine[rows]
        parts.append(tally(part(made.answers, rows), *truth, grouping, data.images[rows], start))
    random.shuffle(parts)  # type: ignore[attr-defined]
    total = sum(parts[1:], parts[0])
    assert same(total, made.tally)
    assert scores_of(total) == made.scores
    assert len(total) == 100


def test_sums_of_floats_depend_on_the_order() -> None:
    """Why the sums are whole numbers."""
    made = evaluation(1000)
    values = made.answers.guess_probability.astype(np.float64) / 3
    assert sum(values.tolist()) != sum(reversed(values.tolist()))


@each_grouping
@each_truth
def test_scores_contain_those_of_the_routing(grouping: CoarseGrouping, known: Known) -> None:
    made = evaluation(grouping=grouping, known=known)
    answers, data = made.answers, made.data
    truth = data.coarse, data.fine, grouping.labels
    expected = routing_scores(answers.routing, answers.coarse_probability, *truth)
    assert {key: made.scores[key] for key in expected} == pytest.approx(expected, rel=1e-8, abs=1e-8)
    assert not any(np.isnan(value) for value in made.scores.values())


@each_grouping
@settings(deadline=None)
@given(seed=seeds)
def test_scores_are_those_of_scikit_learn(grouping: CoarseGrouping, seed: int) -> None:
    made = evaluation(seed=seed, grouping=grouping, known="some")
    answers, data, known = made.answers, made.data, made.data.fine != UNKNOWN
    fine, guess, probability = data.fine[known], answers.guess[known], answers.class_probability[known]
    assert made.scores["class_accuracy"] == pytest.approx(accuracy_score(fine, guess))
    loss = log_loss(fine, _rows_of_one(probability), labels=range(10))
    assert made.scores["negative_log_likelihood"] == pytest.approx(loss, rel=1e-5)
    assert made.scores["abstained"] == pytest.approx((answers.confidence < 0.6).mean())
    assert made.scores["mean_class_probability"] == pytest.approx(answers.guess_probability.mean())
    np.testing.assert_array_equal(made.tally.confusion, confusion_matrix(fine, guess, labels=range(10)))
    told, labels = data.coarse != UNKNOWN, range(len(grouping.labels))
    # One more label keeps scikit-learn from a warning where there is one.
    expected = confusion_matrix(data.coarse[told], answers.coarse[told], labels=[*labels, len(labels)])
    np.testing.assert_array_equal(made.tally.coarse_confusion, expected[:-1, :-1])


def _rows_of_one(probability: np.ndarray) -> np.ndarray:
    """scikit-learn warns of rows that sum to one in float32 only."""
    wide = probability.astype(np.float64)
    return wide / wide.sum(axis=1, keepdims=True)


@each_grouping
@each_truth
def test_only_allowed_scores_are_there(grouping: CoarseGrouping, known: Known) -> None:
    scores = evaluation(300, grouping=grouping, known=known).scores
    of_classes = {"class_accuracy", "cell_accuracy", "purity", "nmi", "ari"}
    of_classes |= {"negative_log_likelihood", "calibration_error"}
    of_groups = {f"group_accuracy/{label}" for label in grouping.labels} if grouping.divided else set()
    of_coarse = {"coarse_accuracy", "coarse_calibration_error"} if grouping.divided else set()
    always = {*(f"expert_load/{e}" for e in range(5)), "cells_in_use", "routing_entropy"}
    always |= {"mean_class_probability", "abstained"}
    fine = of_classes | of_groups if known in ("fine", "some") else set()
    assert set(scores) == always | fine | (of_coarse if known != "nothing" else set())


def test_coarse_accuracy_counts_known_coarse_labels() -> None:
    # Every second image is right, and of three the first two are known.
    assert evaluation(60, known="fine").scores["coarse_accuracy"] == 0.5
    assert evaluation(60, known="some").scores["coarse_accuracy"] == 0.5
    assert evaluation(4, known="some").scores["coarse_accuracy"] == pytest.approx(1 / 3)


def test_calibration_errors_are_those_of_the_reliability() -> None:
    made = evaluation(200)
    answers, data = made.answers, made.data
    guess = reliability(answers.guess_probability, answers.guess == data.fine)
    coarse = reliability(answers.coarse_probability.max(axis=1), answers.coarse == data.coarse)
    assert made.scores["calibration_error"] == pytest.approx(guess.error)
    assert made.scores["coarse_calibration_error"] == pytest.approx(coarse.error)
    for found, expected in ((made.tally.class_reliability, guess), (made.tally.coarse_reliability, coarse)):
        np.testing.assert_array_equal(found.images, expected.images)
        np.testing.assert_array_equal(found.accuracy, expected.accuracy)
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-9)


def test_an_impossible_class_keeps_the_likelihood_finite() -> None:
    answers = answers_from(np.zeros(1, int), np.ones((1, 1)), np.eye(10)[[1]], HALVES)
    scores = scores_of(tally(answers, np.array([0]), np.array([0]), HALVES))
    assert scores["negative_log_likelihood"] == pytest.approx(-np.log(MIN_PROBABILITY))


def test_a_class_decides_on_its_coarse_label() -> None:
    answers = evaluation(10).answers
    fine = np.arange(10)
    one, other = (tally(answers, coarse, fine, HALVES) for coarse in (np.full(10, UNKNOWN), HALVES.coarse(fine)))
    assert same(one, other)


def test_the_surest_mistakes_are_kept() -> None:
    made = evaluation(300)
    twice = made.tally + tally(made.answers, made.data.coarse, made.data.fine, HALVES, made.data.images, first=300)
    assert len(twice.mistakes) == MAX_MISTAKES
    places = [mistake.place for mistake in twice.mistakes]
    # Of equal ones the first comes first.
    assert [place + 300 for place in places[::2]] == places[1::2]
    wrong = made.answers.guess != made.data.fine
    assert twice.mistakes[0].probability == pytest.approx(made.answers.guess_probability[wrong].max())


def test_another_coarse_label_is_a_mistake() -> None:
    made = evaluation(300, known="coarse")
    wrong = made.answers.coarse != made.data.coarse
    assert made.tally.certainty[1].sum() == wrong.sum() == 150
    for mistake in made.tally.mistakes:
        assert wrong[mistake.place]
        assert mistake.truth == 10 + made.data.coarse[mistake.place]
    assert not evaluation(300, known="nothing").tally.mistakes


@each_grouping
def test_subtypes_are_counted_by_coarse_label(grouping: CoarseGrouping) -> None:
    made: Evaluation = evaluation(300, grouping=grouping, known="some")
    coarse = made.data.coarse if grouping.divided else np.zeros(300, int)
    for label in (*range(len(grouping.labels)), UNKNOWN):
        expected = np.bincount(made.answers.guess[coarse == label], minlength=10)
        np.testing.assert_array_equal(made.tally.subtypes[label], expected)
        expected = np.bincount(made.answers.expert[coarse == label], minlength=5)
        np.testing.assert_array_equal(made.tally.experts[label], expected)


@settings(deadline=None)
@given(seeds, st.integers(1, 6), st.sampled_from([(0, 1, 2, 3, 4), (5, 7), (9, 8, 6)]))
def test_the_diagonal_of_a_group_is_the_best(seed: int, experts: int, group: tuple[int, ...]) -> None:
    made = evaluation(experts=experts, seed=seed)
    fine, expert = made.data.fine, made.answers.expert
    found = group_confusion(made.tally, group)
    assert (sorted(found.classes), sorted(found.experts)) == (sorted(group), list(range(experts)))
    for r, c in np.ndindex(found.table.shape):
        assert found.table[r, c] == ((fine == found.classes[r]) & (expert == found.experts[c])).sum()
    orders = permutations(range(max(found.table.shape)))
    assert found.table.trace() == max(_matched(found.table, order) for order in orders)


def _matched(table: np.ndarray, order: tuple[int, ...]) -> int:
    return sum(table[r, c] for r, c in enumerate(order) if r < table.shape[0] and c < table.shape[1])
