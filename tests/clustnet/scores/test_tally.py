from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.bundles.answers import Answers
from clustnet.scores.scores import reliability
from clustnet.scores.tally import MISTAKES, Tally, tally
from evaluation.report.scoring import scores_of
from tests.evaluation.made_up import HALVES, evaluation


def part(answers: Answers, rows: slice) -> Answers:
    arrays = (answers.routing, answers.coarse_label, answers.coarse_probability, answers.class_probability)
    return Answers(answers.model, *(a[rows] for a in (*arrays, answers.confidence, answers.abstain)))


def same(one: Tally, other: Tally) -> bool:
    tables = ("routed", "confusion", "guesses", "coarse", "certainty")
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in tables)
        and (one.abstained, one.entropy, one.surprise) == (other.abstained, other.entropy, other.surprise)
        and [m[:4] for m in one.mistakes] == [m[:4] for m in other.mistakes]
        and all(np.array_equal(a.image, b.image) for a, b in zip(one.mistakes, other.mistakes, strict=True))
    )


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True), st.randoms())
def test_parts_add_up_to_the_whole_in_any_order(seed: int, cuts: list[int], random: object) -> None:
    made = evaluation(100, seed=seed)
    data, edges = made.data, [0, *sorted(cuts), 100]
    parts = []
    for start, stop in pairwise(edges):
        rows = slice(start, stop)
        parts.append(tally(part(made.answers, rows), data.labels[rows], HALVES, data.images[rows], start))
    random.shuffle(parts)  # type: ignore[attr-defined]
    total = sum(parts[1:], parts[0])
    assert same(total, made.tally)
    assert scores_of(total, HALVES) == made.scores
    assert len(total) == 100


def test_sums_of_floats_would_depend_on_the_order() -> None:
    """Why the sums are whole numbers."""
    made = evaluation(1000)
    values = made.answers.guess_probability.astype(np.float64) / 3
    assert sum(values.tolist()) != sum(reversed(values.tolist()))


def test_the_bins_are_those_of_the_reliability() -> None:
    made = evaluation(300)
    found, expected = (
        made.tally.class_reliability,
        reliability(made.answers.guess_probability, made.answers.guess == made.data.labels),
    )
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.accuracy, expected.accuracy)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-9)


def test_the_surest_mistakes_are_kept_and_of_equal_ones_the_first() -> None:
    made = evaluation(300)
    twice = made.tally + tally(made.answers, made.data.labels, HALVES, made.data.images, first=300)
    assert len(twice.mistakes) == MISTAKES
    places = [mistake.place for mistake in twice.mistakes]
    assert [place + 300 for place in places[::2]] == places[1::2]
    wrong = made.answers.guess != made.data.labels
    assert twice.mistakes[0].probability == pytest.approx(made.answers.guess_probability[wrong].max())
