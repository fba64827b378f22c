"""Images per second of the Predictor beside a bare onnxruntime session on the same graph.

Both run in turns in this process, on the same images and threads; the ratio is the median of the turns' ratios.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundle import MIXTURE, Bundle
from clustnet.datasets import load
from clustnet.predictor import OUTPUTS, Predictor, open_graph, providers_for

BATCH_SIZES = (1, 8, 64, 256, 1024)
IMAGES_A_TURN = 2048
TURNS = 7


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("benchmarks.inference", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/mnist"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    predictor = Predictor(Bundle(options.bundle), options.device)
    session = open_graph(options.bundle / MIXTURE, providers_for(options.device))
    images = load("mnist:test").images[:IMAGES_A_TURN]
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {predictor.provider}, 1 thread, bundle {options.bundle}")
    print(f"{TURNS} turns of {len(images)} MNIST test images; medians\n")
    print("| batch | Predictor, images/s | onnxruntime, images/s | ratio |\n|---|---|---|---|")
    for size in BATCH_SIZES:
        ours, bare, ratio = _compare(predictor, session, images, size)
        print(f"| {size} | {ours:,.0f} | {bare:,.0f} | {ratio:.2f} |", flush=True)


def _compare(predictor: Predictor, session: object, images: NDArray[np.uint8], size: int) -> tuple[float, float, float]:
    """Return both speeds in images per second and the median ratio."""

    def bare(batch: NDArray[np.uint8]) -> object:
        return session.run(OUTPUTS, {"image": batch})  # type: ignore[attr-defined]

    pairs = []
    for _ in range(TURNS + 1):
        pairs.append((_speed(predictor.predict, images, size), _speed(bare, images, size)))
    ours, theirs = zip(*pairs[1:], strict=True)  # the first turn warms up
    return statistics.median(ours), statistics.median(theirs), statistics.median(a / b for a, b in pairs[1:])


def _speed(run: Callable[[NDArray[np.uint8]], object], images: NDArray[np.uint8], size: int) -> float:
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
