"""How fast images are embedded, beside a bare loop of onnxruntime over the same graph with the same threads.

    python -m benchmarks.encoding --encoder lite0 --threads 1

Neither includes decoding. Both take turns, and the median of the ratios counts, as shared machines are noisy.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from clustnet.bundles.predictor import CPU, LOG_LEVEL
from clustnet.encoders import Encoder, find_encoder

IMAGES, ROUNDS = 128, 7


def bare_loop(encoder: Encoder, threads: int, batch: int) -> Callable[[NDArray[np.uint8]], None]:
    """Return a loop of bare onnxruntime over the encoder's graph, which must read images as they are."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = LOG_LEVEL
    session = onnxruntime.InferenceSession(encoder.graph, options, providers=[CPU])
    name = session.get_inputs()[0].name

    def run(images: NDArray[np.uint8]) -> None:
        for start in range(0, len(images), batch):
            session.run(None, {name: images[start : start + batch]})

    return run


def seconds(work: Callable[[NDArray[np.uint8]], object], images: NDArray[np.uint8]) -> float:
    """Return how many seconds some work on images takes."""
    begin = time.perf_counter()
    work(images)
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print images per second, and the ratio."""
    parser = argparse.ArgumentParser("benchmarks.encoding", description="Embedding beside a bare loop of onnxruntime.")
    parser.add_argument("--encoder", default="lite0", help="a name, a folder or FILE.onnx that reads uint8 images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8, help="images in one inference, in both")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    encoder = Encoder(*find_encoder(options.encoder), device="cpu", threads=options.threads)
    if not encoder.reads_bytes or encoder.input.shape[:2] != encoder.size:
        parser.error("a bare loop needs a graph that reads the images as they are, in uint8 and without a crop")
    images = np.random.default_rng(0).integers(0, 256, (options.images, *encoder.input.shape), np.uint8)
    bare = bare_loop(encoder, options.threads, options.batch)
    pairs = []
    for _ in range(options.rounds + 1):
        own = seconds(lambda some: encoder.embed(some, options.batch), images)
        pairs.append((own, seconds(bare, images)))
    # The first round warms up.
    own, loop = (statistics.median(times) for times in zip(*pairs[1:], strict=True))
    ratio = statistics.median(loop / own for own, loop in pairs[1:])
    size = "x".join(map(str, encoder.size))
    print(
        f"{encoder.spec.name} at {size}, {options.threads} threads, batches of {options.batch}, {options.images} images"
    )
    print(f"embed      {options.images / own:8.1f} images a second (median of {options.rounds})")
    print(f"bare loop  {options.images / loop:8.1f}")
    print(f"ratio      {ratio:8.3f} (at least 0.9)")


if __name__ == "__main__":
    main()
