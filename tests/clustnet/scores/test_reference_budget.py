import numpy as np
import pytest

from clustnet.bundles.class_map import draw_reference, fit_class_map
from clustnet.scores.reference_budget import Draws, ExpertAnswers

LABELS = np.random.default_rng(0).permutation(np.arange(120) % 4)


def answers(images: int, seed: int) -> ExpertAnswers:
    generator = np.random.default_rng(seed)
    return ExpertAnswers(generator.dirichlet(np.ones(3), images), generator.random((images, 3)))


def test_the_pool_is_all_that_is_drawn_and_no_more() -> None:
    draws = Draws.of(LABELS, (1, 5), 3)
    assert [[len(draw) for draw in budget] for budget in draws.drawn] == [[4] * 3, [20] * 3]
    assert draws.pool.tolist() == sorted({int(i) for budget in draws.drawn for draw in budget for i in draw})
    for row, per_class in enumerate((1, 5)):
        for seed in range(3):
            np.testing.assert_array_equal(draws.drawn[row][seed], draw_reference(LABELS, per_class, seed))


def test_each_draw_is_scored_as_by_hand() -> None:
    draws, everything, scored = Draws.of(LABELS, (1, 5), 3), answers(120, 1), answers(60, 2)
    truth = np.arange(60) % 4
    found = draws.accuracy(ExpertAnswers(*(part[draws.pool] for part in everything)), LABELS, scored, truth, 4)
    assert found.shape == (2, 3)
    for row, budget in enumerate(draws.drawn):
        for column, draw in enumerate(budget):
            fitted = fit_class_map(everything.weights[draw], everything.probability[draw], LABELS[draw], 4)
            g, p = scored
            classes = (g * p) @ fitted[:, 1] + (g * (1 - p)) @ fitted[:, 0]
            assert found[row, column] == np.mean(classes.argmax(axis=1) == truth)
    assert len(np.unique(found)) > 1  # the draws differ


def test_no_label_outside_the_pool_is_read() -> None:
    draws, scored = Draws.of(LABELS, (1,), 3), answers(60, 2)
    pooled, truth = answers(len(draws.pool), 1), np.arange(60) % 4
    others = np.full_like(LABELS, 3)
    others[draws.pool] = LABELS[draws.pool]
    plain, other = (draws.accuracy(pooled, labels, scored, truth, 4) for labels in (LABELS, others))
    np.testing.assert_array_equal(plain, other)


def test_perfect_cells_are_named_by_one_image_of_each_class() -> None:
    def reader(labels: np.ndarray) -> ExpertAnswers:
        return ExpertAnswers(np.eye(2)[labels % 2], np.repeat(labels[:, None] > 1, 2, axis=1).astype(float))

    draws = Draws.of(LABELS, (1,), 5)
    found = draws.accuracy(reader(LABELS[draws.pool]), LABELS, reader(LABELS), LABELS, 4)
    assert found.tolist() == [pytest.approx([1.0] * 5)]
