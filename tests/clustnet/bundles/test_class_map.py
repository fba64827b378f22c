import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.bundles.class_map import PRIOR_IMAGES, class_mapping, class_probability, draw_reference, fit_class_map
from clustnet.bundles.routing import cell_probability, routing_weights

sizes = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(2, 8), st.integers(0, 2**32 - 1))


def made_up(images: int, experts: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.ones(experts), images), generator.random((images, experts)), generator


@given(sizes)
def test_class_map_is_the_expected_class_counts_of_each_cell(size: tuple[int, int, int, int]) -> None:
    images, experts, classes, seed = size
    weights, probability, generator = made_up(images, experts, seed)
    labels = generator.integers(0, classes, images)
    expected = np.full((experts, 2, classes), PRIOR_IMAGES)
    for n in range(images):
        for e in range(experts):
            expected[e, 1, labels[n]] += weights[n, e] * probability[n, e]
            expected[e, 0, labels[n]] += weights[n, e] * (1 - probability[n, e])
    expected /= expected.sum(axis=2, keepdims=True)
    fitted = fit_class_map(weights, probability, labels, classes)
    np.testing.assert_allclose(fitted, expected, rtol=1e-10)
    np.testing.assert_allclose(fitted.sum(axis=2), 1)


@given(sizes)
def test_class_probability_is_the_formula_of_the_design(size: tuple[int, int, int, int]) -> None:
    images, experts, classes, seed = size
    g, p, generator = made_up(images, experts, seed)
    m = generator.dirichlet(np.ones(classes), (experts, 2))
    expected = [
        [
            sum(g[n, e] * (p[n, e] * m[e, 1, c] + (1 - p[n, e]) * m[e, 0, c]) for e in range(experts))
            for c in range(classes)
        ]
        for n in range(images)
    ]
    found = class_probability(g, p, m)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(found.sum(axis=1), 1)


@given(sizes)
def test_cells_of_an_image_share_its_whole_probability(size: tuple[int, int, int, int]) -> None:
    images, experts, _, seed = size
    weights, probability, _ = made_up(images, experts, seed)
    cell = cell_probability(weights, probability)
    np.testing.assert_allclose(cell.sum(axis=(1, 2)), 1)
    np.testing.assert_allclose(cell.sum(axis=2), weights)


def test_hard_routing_gives_one_expert_everything() -> None:
    routing = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]], np.float32)
    assert routing_weights(routing, hard=True).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert routing_weights(routing, hard=False) is routing
    assert routing_weights(routing, hard=True).dtype == np.float32


def test_cells_without_images_stay_uniform_and_pure_ones_name_their_class() -> None:
    weights = np.array([[1.0, 0.0]] * 4)
    probability = np.array([[1.0, 0.5]] * 2 + [[0.0, 0.5]] * 2)
    fitted = fit_class_map(weights, probability, np.array([3, 3, 1, 1]), classes=4)
    assert fitted[0].argmax(axis=1).tolist() == [1, 3]
    np.testing.assert_allclose(fitted[1], 0.25)


def test_reference_images_are_drawn_evenly_without_repetition() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 1000)
    drawn = draw_reference(labels, 10, seed=3)
    assert np.bincount(labels[drawn]).tolist() == [10] * 10
    assert len(set(drawn.tolist())) == 100
    assert drawn.tolist() == sorted(drawn.tolist())
    np.testing.assert_array_equal(drawn, draw_reference(labels, 10, seed=3))
    assert drawn.tolist() != draw_reference(labels, 10, seed=4).tolist()


def test_more_reference_images_than_a_class_has_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="larger sample than population"):
        draw_reference(np.array([0, 0, 1]), 2, seed=0)


def test_a_cluster_is_mapped_to_its_most_probable_class_or_to_none_where_no_image_told_it() -> None:
    rows = np.array([[0.1, 0.9, 0.0], [1.0, 0.0, 0.0], [0.35, 0.33, 0.32]])
    assert class_mapping(rows, ("cat", "dog", "ship")) == {"0": "dog", "1": "cat", "2": None}
