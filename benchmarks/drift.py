"""How soon drift raises an alarm, and how seldom there is a false one.

A window is filled with MNIST test images in an order that a seed shuffles; then other images follow, one by one, until
an alarm stands. Each model's answers are computed once and drawn from.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.inference import processor
from clustnet.bundles.bundle import Bundle, DriftReference
from clustnet.bundles.drift import Observed, Window
from clustnet.bundles.predictor import Predictor
from clustnet.datasets import LabelledImages, load

Bins = NDArray[np.intp]  # [N, 4]
# Draws the given number of images.
Traffic = Callable[[np.random.Generator, int], Bins]

# How long to wait for an alarm, or for its end.
MAX_IMAGES = 5000
# How often alarms are looked for in traffic without drift.
IMAGES_PER_LOOK = 100


def main() -> None:
    """Print the tables."""
    options = _options()
    predictor = Predictor(Bundle(options.bundle), "cpu")
    reference = predictor.manifest.drift
    if reference is None:
        raise SystemExit(f"{options.bundle} keeps no reference of drift; export it again.")
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, bundle {options.bundle}, window {options.window} images")
    test, letters = load("mnist:test"), load(f"notmnist:{options.notmnist}:test") if options.notmnist else None
    answers = answers_of(predictor, reference, test, letters)
    print(f"reference: {reference.images:,} images of {reference.data}; seeds 0 to {options.seeds - 1}\n")
    _print_delays(reference, answers, test, options)
    print()
    _print_false_alarms(reference, answers["test"], options)


def answers_of(
    predictor: Predictor, reference: DriftReference, test: LabelledImages, letters: LabelledImages | None = None
) -> dict[str, Bins]:
    """Return the bins of the test images as they are, inverted and turned, and of letters if there are any."""
    images = {"test": test.images, "inverted": 255 - test.images, "turned": np.rot90(test.images, axes=(1, 2))}
    if letters:
        images["letters"] = letters.images
    membership = predictor.manifest.membership()
    return {
        name: Observed.of([predictor.predict(np.ascontiguousarray(some))], [some], membership).bins(reference)
        for name, some in images.items()
    }


def traffics(answers: Mapping[str, Bins], fine: NDArray[np.int64]) -> dict[str, Traffic]:
    """Return each kind of traffic by its name.

    Args:
        answers: the bins that ``answers_of`` returns.
        fine: int64 [N], the digits of the test images.
    """
    made = {
        "inverted": _drawn(answers["inverted"]),
        "turned by 90 degrees": _drawn(answers["turned"]),
        "half of them one digit": lambda g, n: _mixed(g, n, 0.5, answers["test"][fine == g.integers(10)], answers),
        "a quarter of them turned": lambda g, n: _mixed(g, n, 0.25, answers["turned"], answers),
        "a tenth of them turned": lambda g, n: _mixed(g, n, 0.1, answers["turned"], answers),
    }
    if "letters" in answers:
        made["notMNIST"] = _drawn(answers["letters"])
    return made


def delays(reference: DriftReference, healthy: Bins, traffic: Traffic, window: int, seed: int) -> tuple[float, float]:
    """Return the images of other traffic until an alarm, and those of healthy traffic until its end; inf for never.

    Args:
        reference: what the traffic is compared with.
        healthy: the bins of images without drift, which come first and last.
        traffic: draws what comes between, up to a window more after the alarm.
        window: number of images in the window.
        seed: seeds all draws.
    """
    generator = np.random.default_rng(seed)
    watch = Window(reference, window)
    watch.add(healthy[generator.permutation(len(healthy))[:window]])
    live = traffic(generator, MAX_IMAGES)
    until_alarm = _until(watch, live, alarm=True)
    if until_alarm == np.inf:
        return until_alarm, np.inf
    watch.add(live[int(until_alarm) :][:window])
    return until_alarm, _until(watch, healthy[generator.permutation(len(healthy))[:MAX_IMAGES]], alarm=False)


def without_drift(reference: DriftReference, healthy: Bins, window: int, seed: int) -> tuple[bool, float]:
    """Return whether shuffled images ever raise an alarm, and the largest index of any full window."""
    watch, order = Window(reference, window), np.random.default_rng(seed).permutation(len(healthy))
    alarm, largest = False, 0.0
    for start in range(0, len(order), IMAGES_PER_LOOK):
        watch.add(healthy[order[start : start + IMAGES_PER_LOOK]])
        shifts = watch.shifts().values()
        alarm |= any(shift.alarm for shift in shifts)
        if start + IMAGES_PER_LOOK >= window:
            largest = max(largest, *(shift.psi for shift in shifts))
    return alarm, largest


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.drift", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/mnist"))
    parser.add_argument("--notmnist", type=Path, help="notMNIST's folder; without it there are no letters")
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--shuffles", type=int, default=1000, help="of the test split, to count false alarms")
    return parser.parse_args()


def _print_delays(
    reference: DriftReference, answers: Mapping[str, Bins], test: LabelledImages, options: argparse.Namespace
) -> None:
    print("| after MNIST test images come | images until the alarm | alarms | images until it ends |")
    print("|---|---|---|---|")
    for name, traffic in traffics(answers, test.fine).items():
        found = [delays(reference, answers["test"], traffic, options.window, seed) for seed in range(options.seeds)]
        until_alarm, until_end = (np.array(times) for times in zip(*found, strict=True))
        raised = np.isfinite(until_alarm)
        cells = f"{_spread(until_alarm[raised])} | {raised.sum()} of {len(raised)} | {_spread(until_end[raised])}"
        print(f"| {name} | {cells} |", flush=True)


def _print_false_alarms(reference: DriftReference, healthy: Bins, options: argparse.Namespace) -> None:
    found = [without_drift(reference, healthy, options.window, seed) for seed in range(options.shuffles)]
    alarms, largest = sum(alarm for alarm, _ in found), np.array([index for _, index in found])
    images = options.shuffles * len(healthy)
    print(f"MNIST test, shuffled {options.shuffles} times, {images:,} images: {alarms} false alarms;", end=" ")
    print(f"largest index of any window {largest.max():.3f}, per shuffle {_spread(largest, 3)}")
    own, order = Window(reference, options.window), []
    for part in _parts(healthy):
        own.add(part)
        order.append({name: shift.psi for name, shift in own.shifts().items() if shift.alarm})
    said = ", ".join(sorted({name for names in order for name in names})) or "none"
    print(f"MNIST test in its own order, whose second half is brighter: alarms of {said}")


def _parts(bins: Bins) -> Iterator[Bins]:
    return (bins[start : start + IMAGES_PER_LOOK] for start in range(0, len(bins), IMAGES_PER_LOOK))


def _until(watch: Window, bins: Bins, alarm: bool) -> float:
    """Return after how many images there is an alarm or, if ``alarm`` is False, none; inf for never."""
    for index in range(len(bins)):
        watch.add(bins[index : index + 1])
        if any(shift.alarm for shift in watch.shifts().values()) == alarm:
            return index + 1
    return np.inf


def _drawn(bins: Bins) -> Traffic:
    return lambda generator, images: bins[generator.integers(len(bins), size=images)]


def _mixed(generator: np.random.Generator, images: int, share: float, some: Bins, answers: Mapping[str, Bins]) -> Bins:
    """Return drawn images, of which about a share is from ``some`` and the rest are test images."""
    usual, other = (_drawn(bins)(generator, images) for bins in (answers["test"], some))
    return np.where((generator.random(images) < share)[:, None], other, usual)


def _spread(values: NDArray[np.float64], digits: int = 0) -> str:
    if not len(values):
        return "-"
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    mean, deviation, worst = (f"{value:,.{digits}f}" for value in (values.mean(), values.std(ddof=1), values.max()))
    return f"{mean} ± {deviation} ({worst})"


if __name__ == "__main__":
    main()
