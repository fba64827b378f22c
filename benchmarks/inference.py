"""Images per second of the Predictor beside a bare onnxruntime session on the same graph.

All run in turns in this process, on the same images and threads; a ratio is the median of the turns' ratios. A bundle
with ``conditional.onnx`` is measured with the chosen experts alone as well, beside the Predictor with all of them.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import CONDITIONAL, MIXTURE, Bundle
from clustnet.bundles.predictor import OUTPUTS, Device, Predictor, open_graph, providers_for
from clustnet.datasets import load

BATCH_SIZES = (1, 8, 64, 256, 1024)
IMAGES_A_TURN = 2048
TURNS = 7
ALL, BARE, CHOSEN = "Predictor", "onnxruntime", "chosen experts alone"

Way = Callable[[NDArray[np.uint8]], object]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("benchmarks.inference", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/mnist"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    predictor = Predictor(Bundle(options.bundle), options.device)
    ways = _ways(predictor, options.device)
    images = load("mnist:test").images[:IMAGES_A_TURN]
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {predictor.provider}, 1 thread, bundle {options.bundle}")
    print(f"{TURNS} turns of {len(images)} MNIST test images; medians\n")
    ratios = {"ratio": (ALL, BARE), "chosen to all": (CHOSEN, ALL)} if CHOSEN in ways else {"ratio": (ALL, BARE)}
    print("| " + " | ".join(["batch", *(f"{way}, images/s" for way in ways), *ratios]) + " |")
    print("|---" * (1 + len(ways) + len(ratios)) + "|")
    for size in BATCH_SIZES:
        speeds = _speeds(ways, images, size)
        cells = [f"{statistics.median(speeds[way]):,.0f}" for way in ways]
        cells += [f"{_ratio(speeds[one], speeds[other]):.2f}" for one, other in ratios.values()]
        print("| " + " | ".join([str(size), *cells]) + " |", flush=True)


def _ways(predictor: Predictor, device: Device) -> dict[str, Way]:
    """Return what is measured, by its name."""
    bundle = predictor.bundle
    session = open_graph(bundle.path(MIXTURE), providers_for(device))
    ways: dict[str, Way] = {ALL: predictor.predict, BARE: lambda batch: session.run(OUTPUTS, {"image": batch})}
    if CONDITIONAL in bundle.manifest.files:
        ways[CHOSEN] = Predictor(bundle, device, experts="chosen").predict
    return ways


def _speeds(ways: Mapping[str, Way], images: NDArray[np.uint8], size: int) -> dict[str, list[float]]:
    """Return the speed of each way in each turn, in images per second."""
    turns = [{name: _speed(way, images, size) for name, way in ways.items()} for _ in range(TURNS + 1)]
    # The first turn warms up.
    return {name: [turn[name] for turn in turns[1:]] for name in ways}


def _ratio(speeds: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(speeds, others, strict=True))


def _speed(run: Way, images: NDArray[np.uint8], size: int) -> float:
    began = time.perf_counter()
    for start in range(0, len(images), size):
        run(images[start : start + size])
    return len(images) / (time.perf_counter() - began)


def processor() -> str:
    """Return how many processors there are, and their name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}"


if __name__ == "__main__":
    main()
