from dataclasses import replace

import numpy as np
import pytest

from clustnet.bundles.class_map import cell_overlap, class_probability, draw_reference, fit_class_map, guesses
from clustnet.bundles.groups import UNKNOWN, CoarseGrouping
from clustnet.datasets import LabelledImages
from clustnet.scores.reference_budget import Draws, ExpertAnswers

CLASSES = tuple("abcd")
LABELS = np.random.default_rng(0).permutation(np.arange(120) % 4)
GROUPINGS = (
    CoarseGrouping.whole(4),
    CoarseGrouping(("low", "high"), ((0, 1), (2, 3))),
    CoarseGrouping(("one", "two", "three"), ((0,), (1, 3), (2,))),
)


def training(labels: np.ndarray = LABELS) -> LabelledImages:
    images = np.zeros((len(labels), 2, 2), np.uint8)
    return LabelledImages.of_classes("made-up", "train", images, labels, CLASSES, (0.5,), (0.5,))


def answers(images: int, seed: int, coarse: int = 2) -> ExpertAnswers:
    generator = np.random.default_rng(seed)
    return ExpertAnswers(generator.dirichlet(np.ones(3), images), generator.dirichlet(np.ones(coarse), (images, 3)))


def test_the_pool_is_exactly_what_is_drawn() -> None:
    draws = Draws.of(training(), (1, 5), 3)
    assert [[len(draw) for draw in budget] for budget in draws.drawn] == [[4] * 3, [20] * 3]
    assert draws.pool.tolist() == sorted({int(i) for budget in draws.drawn for draw in budget for i in draw})
    for row, per_class in enumerate((1, 5)):
        for seed in range(3):
            np.testing.assert_array_equal(draws.drawn[row][seed], draw_reference(LABELS, per_class, seed))


@pytest.mark.parametrize("grouping", GROUPINGS, ids=lambda grouping: str(len(grouping.labels)))
def test_each_draw_is_scored_as_by_hand(grouping: CoarseGrouping) -> None:
    coarse = len(grouping.labels)
    draws, everything, scored = Draws.of(training(), (1, 5), 3), answers(120, 1, coarse), answers(60, 2, coarse)
    truth, membership = np.arange(60) % 4, grouping.membership()
    pooled = everything.take(draws.pool)
    found = draws.measure(pooled, scored, truth, membership)
    assert (found.data, found.draws, found.accuracy.shape) == ("made-up:train", 3, (2, 3))
    for row, budget in enumerate(draws.drawn):
        for column, draw in enumerate(budget):
            fitted = fit_class_map(*everything.take(draw), LABELS[draw], 4, cell_overlap(*pooled))
            weights, probability = scored
            mixed = np.einsum("ne,nek->nk", weights, probability)
            guess = guesses(mixed, class_probability(weights, probability, fitted), membership)
            assert found.accuracy[row, column] == np.mean(guess == truth)
    # The draws differ.
    assert len(np.unique(found.accuracy)) > 1


def test_rows_are_those_of_numpy() -> None:
    draws, scored = Draws.of(training(), (1, 5), 4), answers(60, 2)
    found = draws.measure(answers(len(draws.pool), 1), scored, np.arange(60) % 4, GROUPINGS[1].membership())
    for row, values in zip(found.rows(), found.accuracy, strict=True):
        assert row[1:] == pytest.approx((values.mean(), np.std(values, ddof=1), values.min(), values.max()))
    assert [row.per_class for row in found.rows()] == [1, 5]


def test_no_label_outside_the_pool_is_read() -> None:
    draws, scored = Draws.of(training(), (1,), 3), answers(60, 2)
    pooled, truth, membership = answers(len(draws.pool), 1), np.arange(60) % 4, GROUPINGS[1].membership()
    others = np.full_like(LABELS, UNKNOWN)
    others[draws.pool] = LABELS[draws.pool]
    hidden = replace(draws, training=training(others))
    plain, other = (some.measure(pooled, scored, truth, membership).accuracy for some in (draws, hidden))
    np.testing.assert_array_equal(plain, other)


def test_one_image_names_each_perfect_cell() -> None:
    def reader(labels: np.ndarray) -> ExpertAnswers:
        return ExpertAnswers(np.eye(2)[labels % 2], np.repeat(np.eye(2)[labels // 2][:, None], 2, axis=1))

    draws = Draws.of(training(), (1,), 5)
    found = draws.measure(reader(LABELS[draws.pool]), reader(LABELS), LABELS, GROUPINGS[1].membership())
    assert found.accuracy.tolist() == [pytest.approx([1.0] * 5)]
