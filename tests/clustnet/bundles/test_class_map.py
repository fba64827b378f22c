from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustnet.bundles.class_map import (
    NEIGHBOUR_SHARE,
    PRIOR_IMAGES,
    UNIFORM_IMAGES,
    cell_overlap,
    class_mapping,
    class_probability,
    draw_reference,
    fit_class_map,
    guesses,
    identity_class_map,
)
from clustnet.bundles.routing import cell_probability, coarse_probability, routing_weights


class MadeUp(NamedTuple):
    """Answers of a mixture for N images.

    Args:
        weights: [N, E].
        experts: [N, E, K].
        membership: bool [K, C], each row with a class.
        generator: for more random numbers.
    """

    weights: np.ndarray
    experts: np.ndarray
    membership: np.ndarray
    generator: np.random.Generator

    @property
    def classes(self) -> int:
        return self.membership.shape[1]

    def class_map(self) -> np.ndarray:
        """Return a random map that keeps to the membership, [E, K, C]."""
        found = self.generator.dirichlet(np.ones(self.classes), self.experts.shape[1:]) * self.membership
        return np.asarray(found / found.sum(axis=2, keepdims=True))


@st.composite
def made_up(draw: st.DrawFn) -> MadeUp:
    images, experts, labels = draw(st.integers(1, 12)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    classes = draw(st.integers(labels, labels + 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    own = np.concatenate([np.arange(labels), generator.integers(0, labels, classes - labels)])
    membership = generator.permutation(own) == np.arange(labels)[:, None]
    weights = generator.dirichlet(np.ones(experts), images)
    return MadeUp(weights, generator.dirichlet(np.ones(labels), (images, experts)), membership, generator)


@given(made_up())
def test_cell_overlap_is_the_shared_images(case: MadeUp) -> None:
    experts, labels = case.experts.shape[1:]
    expected = np.zeros((labels, experts, experts))
    for n, k, a, b in np.ndindex(len(case.weights), *expected.shape):
        own, other = case.weights[n, [a, b]] * case.experts[n, [a, b], k]
        expected[k, a, b] += own * other
    found = cell_overlap(case.weights, case.experts)
    np.testing.assert_allclose(found, expected / expected.sum(axis=2, keepdims=True), rtol=1e-10)


@given(made_up())
def test_class_map_is_the_spread_counts(case: MadeUp) -> None:
    labels = case.generator.integers(0, case.classes, len(case.weights))
    counts = np.zeros((*case.experts.shape[1:], case.classes))
    for n, e, k in np.ndindex(case.experts.shape):
        counts[e, k, labels[n]] += case.weights[n, e] * case.experts[n, e, k]
    overlap = cell_overlap(case.weights, case.experts)
    fitted = fit_class_map(case.weights, case.experts, labels, case.classes, overlap)
    # Zhou et al. iterate F <- alpha S F + (1 - alpha) Y, which ends at this.
    spread = counts
    for _ in range(400):
        neighbours = np.einsum("kef,fkc->ekc", overlap, spread)
        spread = NEIGHBOUR_SHARE * neighbours + (1 - NEIGHBOUR_SHARE) * counts
    spread = spread + UNIFORM_IMAGES / case.classes
    expected = counts + PRIOR_IMAGES * spread / spread.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(fitted, expected / expected.sum(axis=2, keepdims=True), rtol=1e-10)
    np.testing.assert_allclose(fitted.sum(axis=2), 1)
    assert (fitted > 0).all()


@given(made_up())
def test_class_probability_is_the_formula(case: MadeUp) -> None:
    class_map = case.class_map()
    expected = torch.einsum("ne,nek,ekc->nc", *map(torch.from_numpy, (case.weights, case.experts, class_map)))
    found = class_probability(case.weights, case.experts, class_map)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(found.sum(axis=1), 1)


@given(made_up())
def test_classes_of_a_label_share_its_probability(case: MadeUp) -> None:
    by_class = class_probability(case.weights, case.experts, case.class_map()) @ case.membership.T
    np.testing.assert_allclose(by_class, coarse_probability(case.weights, case.experts), rtol=1e-10)


@given(made_up())
def test_cells_of_an_image_share_its_whole_probability(case: MadeUp) -> None:
    cell = cell_probability(case.weights, case.experts)
    np.testing.assert_allclose(cell.sum(axis=(1, 2)), 1)
    np.testing.assert_allclose(cell.sum(axis=2), case.weights)
    plain = (case.weights[:, :, None] * case.experts).sum(axis=1)
    np.testing.assert_allclose(coarse_probability(case.weights, case.experts), plain)


@given(made_up())
def test_guesses_never_contradict_the_coarse_label(case: MadeUp) -> None:
    coarse = coarse_probability(case.weights, case.experts)
    # Any class probabilities, as a temperature may make them, and with classes that are equally probable.
    probability = np.round(case.generator.dirichlet(np.ones(case.classes), len(coarse)), 1).astype(np.float32)
    found = guesses(coarse, probability, case.membership)
    assert (found.shape, found.dtype) == ((len(coarse),), np.int64)
    for row, guess, label in zip(probability, found, coarse.argmax(axis=1), strict=True):
        inside = np.flatnonzero(case.membership[label])
        assert guess in inside
        assert row[guess] == row[inside].max()


def test_a_guess_may_differ_from_the_likeliest_class() -> None:
    coarse, membership = np.array([[0.4, 0.6]]), np.array([[True, False, False], [False, True, True]])
    assert guesses(coarse, np.array([[0.4, 0.3, 0.3]]), membership).tolist() == [1]
    assert guesses(np.ones((1, 1)), np.array([[0.2, 0.5, 0.3]]), np.ones((1, 3), bool)).tolist() == [1]


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_identity_map_has_one_subtype_per_cell(experts: int, labels: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    used = generator.random((experts, labels)) < 0.5
    used[generator.integers(0, experts, labels), np.arange(labels)] = True
    class_map, subtypes = identity_class_map(used)
    assert class_map.shape == (experts, labels, used.sum())
    np.testing.assert_allclose(class_map.sum(axis=2), 1)
    assert sorted(subtypes) == [tuple(cell) for cell in np.argwhere(used).tolist()]
    assert subtypes == sorted(subtypes, key=lambda cell: (cell[1], cell[0]))
    coarse = np.array([label for _, label in subtypes])
    for index, (expert, label) in enumerate(subtypes):
        assert class_map[expert, label].tolist() == np.eye(len(subtypes))[index].tolist()
    for expert, label in np.argwhere(~used):
        np.testing.assert_allclose(class_map[expert, label], (coarse == label) / (coarse == label).sum())
    # No cell stands for a subtype of another coarse label.
    assert not class_map[:, coarse != np.arange(labels)[:, None]].any()


def test_hard_routing_gives_one_expert_everything() -> None:
    routing = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]], np.float32)
    assert routing_weights(routing, hard=True).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert routing_weights(routing, hard=False) is routing
    assert routing_weights(routing, hard=True).dtype == np.float32


def test_cells_without_images_stay_uniform() -> None:
    weights = np.array([[1.0, 0.0]] * 4)
    second = np.array([[1.0, 0.5]] * 2 + [[0.0, 0.5]] * 2)
    experts = np.stack([1 - second, second], axis=2)
    overlap = cell_overlap(weights, experts)
    np.testing.assert_allclose(overlap, [np.eye(2)] * 2)
    fitted = fit_class_map(weights, experts, np.array([3, 3, 1, 1]), 4, overlap)
    assert fitted[0].argmax(axis=1).tolist() == [1, 3]
    np.testing.assert_allclose(fitted[1], 0.25)


def test_cells_without_references_are_their_neighbours() -> None:
    # The third cell shares images with the second, and no reference image is in it.
    many = np.repeat([[1.0, 0, 0], [0, 1, 0], [0, 0.5, 0.5]], 10, axis=0)
    experts = np.ones((30, 3, 1))
    references = many[[0, 10]]
    fitted = fit_class_map(references, experts[:2], np.array([0, 1]), 2, cell_overlap(many, experts))
    assert fitted[:, 0].argmax(axis=1).tolist() == [0, 1, 1]
    assert fitted[2, 0, 1] > 0.9


@pytest.mark.parametrize("unknown", [0, 50])
def test_reference_images_are_drawn_evenly_without_repetition(unknown: int) -> None:
    labels = np.random.default_rng(0).integers(0, 10, 1000)
    labels[:unknown] = -1
    drawn = draw_reference(labels, 10, seed=3)
    assert np.bincount(labels[drawn]).tolist() == [10] * 10
    assert len(set(drawn.tolist())) == 100
    assert drawn.tolist() == sorted(drawn.tolist())
    np.testing.assert_array_equal(drawn, draw_reference(labels, 10, seed=3))
    assert drawn.tolist() != draw_reference(labels, 10, seed=4).tolist()


def test_too_many_reference_images_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="larger sample than population"):
        draw_reference(np.array([0, 0, 1]), 2, seed=0)


def test_a_cluster_is_mapped_only_when_clear() -> None:
    rows = np.array([[0.1, 0.9, 0.0], [1.0, 0.0, 0.0], [0.35, 0.33, 0.32]])
    assert class_mapping(rows, ("cat", "dog", "ship")) == {"0": "dog", "1": "cat", "2": None}
