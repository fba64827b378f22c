"""The index and the alarms against plain recomputations, and their promises against simulation."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln

from clustnet.bundles import drift
from clustnet.bundles.bundle import Binned, DriftReference
from clustnet.bundles.class_map import guesses
from clustnet.bundles.drift import Observed, Window, best_log_likelihood, psi, reference_of
from clustnet.bundles.predictor import Predictions

EXPERTS, CLASSES = 3, 4


def observed(images: int, seed: int = 0, brightness: float = 0.1) -> Observed:
    """Return made-up answers, which differ from the reference by the mean brightness alone."""
    generator = np.random.default_rng(seed)
    return Observed(
        generator.integers(EXPERTS, size=images),
        generator.choice(CLASSES, size=images, p=[0.1, 0.2, 0.3, 0.4]),
        generator.random(images).astype(np.float32),
        generator.normal(brightness, 0.02, images),
    )


REFERENCE = reference_of(observed(5000, seed=99), EXPERTS, CLASSES, "made:up", held_out=True)


def bins(images: int, seed: int = 0, brightness: float = 0.1) -> NDArray[np.intp]:
    return observed(images, seed, brightness).bins(REFERENCE)


def alarms(window: Window) -> set[str]:
    return {name for name, shift in window.shifts().items() if shift.alarm}


def test_the_reference_counts_what_was_observed() -> None:
    some = observed(1000)
    found = reference_of(some, EXPERTS, CLASSES, "made:up", held_out=False)
    assert (found.data, found.images, found.held_out) == ("made:up", 1000, False)
    assert found.expert_load == [int((some.expert == expert).sum()) for expert in range(EXPERTS)]
    assert found.guess == [int((some.guess == guess).sum()) for guess in range(CLASSES)]
    assert (
        found.brightness.counts
        == np.histogram(some.brightness, [-np.inf, *found.brightness.edges, np.inf])[0].tolist()
        == [100] * 10
    )
    assert sum(found.confidence.counts) == 1000


def test_reference_images_fall_into_their_own_bins() -> None:
    """Also after the manifest's JSON, and where many values are the same."""
    some = observed(1000)
    some.brightness[:500] = 0.0
    some.confidence[:] = np.float32(0.1)
    reference = reference_of(some, EXPERTS, CLASSES, "made:up", held_out=False)
    again = DriftReference.model_validate_json(reference.model_dump_json())
    for column, counts in zip(some.bins(again).T, again.counts().values(), strict=True):
        assert np.bincount(column, minlength=len(counts)).tolist() == counts
    assert again.confidence.edges == [float(np.float32(0.1))]
    assert again.confidence.counts == [0, 1000]
    assert 2 <= len(again.brightness.counts) < 10


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_observed_is_what_the_model_answers(labels: int) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    routing, classes = (generator.dirichlet(np.ones(n), 5).astype(np.float32) for n in (EXPERTS, CLASSES))
    confidence = generator.random(5).astype(np.float32)
    coarse = generator.dirichlet(np.ones(labels), 5).astype(np.float32)
    experts = np.empty((5, 0, labels), np.float32)
    membership = np.arange(CLASSES) % labels == np.arange(labels)[:, None]
    outputs = [
        Predictions(coarse[i], routing[i], experts[i], classes[i], confidence[i]) for i in np.split(range(5), [2])
    ]
    found = Observed.of(outputs, [images[:2], images[2:]], membership)
    assert found.expert.tolist() == routing.argmax(axis=1).tolist()
    assert found.guess.tolist() == guesses(coarse, classes, membership).tolist()
    np.testing.assert_array_equal(found.confidence, confidence)
    np.testing.assert_allclose(found.brightness, [image.mean() / 255 for image in images])


def test_brightness_of_colour_is_of_all_channels() -> None:
    images = np.zeros((1, 4, 4, 3), np.uint8)
    images[..., 0] = 255
    one = np.ones((1, 1), np.float32)
    outputs = Predictions(one, one, one[:, None], one, one[0])
    assert Observed.of([outputs], [images], one.astype(bool)).brightness == pytest.approx([1 / 3])


def test_the_index_is_the_formula_less_chance() -> None:
    was, now = np.array([4000, 3000, 2000, 1000]), np.array([100, 200, 300, 400])
    plain = sum((q - p) * math.log(q / p) for p, q in zip(was / 10_000, now / 1000, strict=True))
    assert psi(was, now) == pytest.approx(plain - 3 / 10_000 - 3 / 1000, rel=0.005)
    assert plain > 0.25
    assert psi(was, was // 10) == psi(was, np.zeros(4, int)) == 0
    assert psi(np.array([10, 0]), np.array([0, 10])) < math.inf


@pytest.mark.parametrize("images", [200, 1000])
def test_short_windows_do_not_raise_the_index(images: int) -> None:
    generator, p = np.random.default_rng(0), np.full(10, 0.1)
    reference = generator.multinomial(5000, p)
    found = [psi(reference, generator.multinomial(images, p)) for _ in range(300)]
    # Without the correction it would be 9 / images and more.
    assert np.mean(found) < 0.6 * 9 / images


def test_nearest_likelihood_is_the_largest_within_tolerance() -> None:
    """Against a general optimiser; the fourth bin is empty in the reference."""
    reference, radius = np.array([0.5, 0.3, 0.2, 0.0]), 0.05
    for counts in ([10, 10, 10, 0], [0, 30, 0, 5], [50, 30, 20, 0]):
        shares = np.array(counts) / sum(counts)

        def loss(p: NDArray[np.float64], shares: NDArray[np.float64] = shares) -> float:
            return -float((shares * np.log(np.clip(p, 1e-300, None))).sum())

        near = {"type": "ineq", "fun": lambda p: radius - (reference[:3] * np.log(reference[:3] / p[:3])).sum()}
        whole = {"type": "eq", "fun": lambda p: p.sum() - 1}
        start = 0.98 * reference + 0.02 * np.array([0.25] * 4)
        found = minimize(loss, start, constraints=[near, whole], bounds=[(1e-9, 1)] * 4, options={"maxiter": 500})
        best = best_log_likelihood(np.array(counts), reference, np.array(radius))
        assert best == pytest.approx(-found.fun * sum(counts), abs=0.01)


def test_nearest_likelihood_of_one_image_by_hand() -> None:
    """One image is likeliest with all weight on its own bin: -ln(4 p (1 - p)) / 2 = 0.05 in two bins of a half."""
    p = 0.5 + math.sqrt(1 - math.exp(-0.1)) / 2
    best = best_log_likelihood(np.array([1, 0]), np.array([0.5, 0.5]), np.array(0.05))
    assert best == pytest.approx(math.log(p), abs=1e-4)


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_no_distribution_within_the_tolerance_is_likelier(counts: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    reference, other = generator.dirichlet(np.ones(4), 2)
    divergence = (reference * np.log(reference / other)).sum()
    best = best_log_likelihood(np.array(counts), reference, np.array(divergence))
    assert best >= (np.array(counts) * np.log(other)).sum() - 1e-9


def test_e_process_is_learnt_likelihood_over_nearest() -> None:
    """One block that is half full, recomputed image by image."""
    window, some = Window(REFERENCE, 1000), bins(50, brightness=0.12)
    window.add(some)
    (log_evidence,) = window._log_evidence(window._blocks)
    for index, counts in enumerate(REFERENCE.counts().values()):
        learnt, seen = 0.0, np.full(len(counts), 0.5)
        for bin_ in some[:, index]:
            learnt += math.log(seen[bin_] / seen.sum())
            seen[bin_] += 1
        nearest = best_log_likelihood(
            np.bincount(some[:, index], minlength=len(counts)), np.array(counts) / 5000, window._radius[index]
        )
        assert log_evidence[index] == pytest.approx(learnt - float(nearest), abs=1e-6)


def test_learnt_likelihood_is_a_distribution_over_sequences() -> None:
    """So that its ratio to any one distribution has a mean of 1, on which the rate of false alarms rests."""
    total = 0.0
    for sequence in product(range(3), repeat=6):
        counts = np.bincount(sequence, minlength=3)
        total += math.exp((gammaln(counts + 0.5) - gammaln(0.5)).sum() - gammaln(6 + 1.5) + gammaln(1.5))
        assert drift._log_rising(0.5, 6) == pytest.approx(gammaln(6.5) - gammaln(0.5))
    assert total == pytest.approx(1)


def test_a_window_holds_only_the_last_images() -> None:
    window, some = Window(REFERENCE, 1000), bins(3000)
    for start in range(0, 3000, 7):
        window.add(some[start : start + 7])
        seen = min(start + 7, 3000)
        held = seen if seen <= 1000 else 901 + (seen - 1001) % 100
        assert window.images == held
    for index, (name, shift) in enumerate(window.shifts().items()):
        assert name == list(REFERENCE.counts())[index]
        np.testing.assert_array_equal(shift.counts, np.bincount(some[-held:, index], minlength=len(shift.counts)))
    assert window._blocks.shape[0] == 10


@given(st.lists(st.integers(0, 400), max_size=12))
def test_how_images_are_batched_does_not_matter(sizes: list[int]) -> None:
    some, one, other = bins(sum(sizes)), Window(REFERENCE, 500), Window(REFERENCE, 500)
    one.add(some)
    for part in np.split(some, np.cumsum(sizes)):
        other.add(part)
    for ours, theirs in zip(one.shifts().values(), other.shifts().values(), strict=True):
        np.testing.assert_array_equal(ours.counts, theirs.counts)
        assert (ours.psi, ours.alarm) == (theirs.psi, theirs.alarm)


def test_a_window_without_images_reports_no_shift() -> None:
    shifts = Window(REFERENCE, 1000).shifts()
    assert {(shift.psi, shift.alarm, shift.counts.sum()) for shift in shifts.values()} == {(0.0, False, 0)}


def test_only_changed_traffic_raises_an_alarm() -> None:
    window = Window(REFERENCE, 1000)
    for seed in range(20):
        window.add(bins(250, seed))
        assert alarms(window) == set()
    window.add(bins(100, brightness=0.16))
    assert alarms(window) == {"brightness"}
    assert window.shifts()["guess"].psi < 0.1
    window.add(bins(1000, seed=21))
    assert alarms(window) == set()


def test_a_small_lasting_shift_raises_no_alarm() -> None:
    """Divergences of 0.04 nats, within the tolerance, in a window as long as any."""
    window, brightness = Window(REFERENCE, 100_000), 0.1 + 0.02 * math.sqrt(2 * 0.04)
    window.add(bins(100_000, brightness=brightness))
    shifts = window.shifts()
    assert 0.05 < shifts["brightness"].psi < 0.1
    assert alarms(window) == set()


def test_a_small_reference_allows_more_difference() -> None:
    few = reference_of(observed(60, seed=3), EXPERTS, CLASSES, "made:up", held_out=True)
    window = Window(few, 1000)
    for seed in range(4):
        window.add(observed(500, seed).bins(few))
        assert alarms(window) == set()
    assert window.shifts()["brightness"].psi > 0


@pytest.mark.parametrize("images", [105, 1000])
def test_false_alarms_are_rarer_than_promised(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A promise of 1,000 images instead of a million, so that a simulation can break it."""
    monkeypatch.setattr(drift, "FALSE_ALARM_IMAGES", 1000)
    reference = DriftReference(
        data="made:up",
        images=10**9,
        held_out=True,
        expert_load=[5 * 10**8] * 2,
        guess=[10**9],
        confidence=Binned(edges=[0.5], counts=[5 * 10**8] * 2),
        brightness=Binned(edges=[0.5], counts=[5 * 10**8] * 2),
    )
    # KL(half || p) is the tolerance.
    p = 0.5 + math.sqrt(1 - math.exp(-2 * drift.TOLERANCE_NATS)) / 2
    assert -math.log(4 * p * (1 - p)) / 2 == pytest.approx(drift.TOLERANCE_NATS)
    generator, lengths = np.random.default_rng(0), []
    for _ in range(10):
        window, seen = Window(reference, images), 0
        while seen < 3000 and not alarms(window):
            columns = (generator.random((20, 4)) < p).astype(np.intp)
            columns[:, 1] = 0
            window.add(columns)
            seen += 20
        lengths.append(seen)
    assert np.mean(lengths) >= 1000
