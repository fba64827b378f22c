import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustnet.bundles.calibration import MIN_PROBABILITY, TEMPERATURES, fit_temperature, tempered
from clustnet.bundles.groups import CoarseGrouping
from clustnet.scores.scores import reliability

HALVES = CoarseGrouping(("0-4", "5-9"), ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)))
temperatures = st.floats(*TEMPERATURES)
seeds = st.integers(0, 2**32 - 1)


def made_up(images: int, seed: int, sharpness: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Return honest probabilities of ten classes, and classes drawn from them."""
    generator = np.random.default_rng(seed)
    probability = generator.dirichlet(np.full(10, sharpness), images)
    probability = (probability + 1e-6) / (probability + 1e-6).sum(axis=1, keepdims=True)
    classes = (probability.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1)
    return probability, classes


@given(temperatures, seeds)
def test_tempering_is_the_softmax_of_divided_logarithms(temperature: float, seed: int) -> None:
    probability, _ = made_up(5, seed)
    plain = torch.softmax(torch.from_numpy(probability).log() / temperature, dim=1).numpy()
    np.testing.assert_allclose(tempered(probability, temperature), plain, rtol=1e-9, atol=1e-300)


@given(temperatures, seeds)
def test_tempering_keeps_the_order_and_has_an_inverse(temperature: float, seed: int) -> None:
    probability = made_up(5, seed)[0] * 0.9 + 0.01
    there = tempered(probability, temperature)
    np.testing.assert_allclose(there.sum(axis=1), 1)
    np.testing.assert_array_equal(there.argmax(axis=1), probability.argmax(axis=1))
    if there.min() > MIN_PROBABILITY:
        np.testing.assert_allclose(tempered(there, 1 / temperature), probability, rtol=1e-6)


def test_a_class_without_probability_is_no_fault() -> None:
    found = tempered(np.array([[1.0, 0.0]], np.float32), 0.1)
    np.testing.assert_allclose(found, [[1, 0]], atol=1e-100)


@pytest.mark.parametrize("wrong", [0.4, 0.7, 1.0, 1.5, 3.0])
def test_the_removed_temperature_is_found_again(wrong: float) -> None:
    honest, classes = made_up(20_000, seed=0)
    found = fit_temperature(tempered(honest, wrong), HALVES.membership(), HALVES.coarse(classes))
    assert found == pytest.approx(1 / wrong, rel=0.05)


def test_fitting_calibrates_probabilities_that_are_not_sure_enough() -> None:
    honest, classes = made_up(20_000, seed=1)
    blunt = tempered(honest, 2.5)
    right = blunt.argmax(axis=1) == classes
    calibrated = tempered(blunt, fit_temperature(blunt, HALVES.membership(), HALVES.coarse(classes)))
    assert reliability(blunt.max(axis=1), right).error > 0.1
    assert reliability(calibrated.max(axis=1), right).error < 0.02


@given(seeds)
def test_no_temperature_makes_the_coarse_labels_more_likely(seed: int) -> None:
    honest, classes = made_up(200, seed)
    coarse = HALVES.coarse(classes)
    blunt = tempered(honest, 1.7)

    def likelihood(temperature: float) -> float:
        second = tempered(blunt, temperature)[:, 5:].sum(axis=1)
        true = np.where(coarse == 1, second, 1 - second)
        return float(np.log(np.clip(true, MIN_PROBABILITY, None)).mean())

    best = likelihood(fit_temperature(blunt, HALVES.membership(), coarse))
    assert best >= max(map(likelihood, np.geomspace(*TEMPERATURES, 40))) - 1e-4


@pytest.mark.parametrize(
    "groups", [((9, 0, 3, 4, 5, 7, 8), (6, 1, 2)), ((9, 3, 4), (0, 5), (7, 8, 6, 1, 2)), tuple((c,) for c in range(10))]
)
def test_groups_of_any_shape_are_followed(groups: tuple[tuple[int, ...], ...]) -> None:
    honest, classes = made_up(20_000, seed=2)
    odd = CoarseGrouping(tuple(map(str, range(len(groups)))), groups)
    assert fit_temperature(tempered(honest, 2.0), odd.membership(), odd.coarse(classes)) == pytest.approx(0.5, rel=0.05)


def test_perfect_coarse_labels_give_the_lowest_temperature() -> None:
    probability = np.tile([0.6, 0.4], (50, 1))
    found = fit_temperature(probability, np.eye(2, dtype=bool), np.zeros(50, np.int64))
    assert found == pytest.approx(TEMPERATURES[0], rel=1e-3)


def test_one_coarse_label_leaves_the_temperature() -> None:
    probability, _ = made_up(50, seed=3)
    assert fit_temperature(probability, np.ones((1, 10), bool), np.zeros(50, np.int64)) == 1
