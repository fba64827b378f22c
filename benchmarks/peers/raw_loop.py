"""The graph alone, in a loop: what no service can exceed.

``python -m benchmarks.peers.raw_loop BATCH SECONDS DEVICE WAY`` prints the execution provider and images per second.
The ways are ``run``; ``binding``, which leaves the outputs on the device until they are needed; and ``graph``, which
replays a CUDA graph.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.peers.graph import OUTPUTS
from clustnet.bundles.predictor import CUDA, PROVIDER_OPTIONS, providers_for
from clustnet.datasets import load


def main() -> None:
    """Run the loop."""
    batch, seconds, device, way = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
    images = np.ascontiguousarray(load("mnist:test").images[:batch])
    session = _open(device, way)
    step = {"run": _run, "binding": _binding, "graph": _graph}[way](session, images)
    step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        count += batch
    print(session.get_providers()[0], count / (time.perf_counter() - start))


def _open(device: Any, way: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = {"enable_cuda_graph": "1"} if way == "graph" else {}
    providers = [(name, PROVIDER_OPTIONS[name] | (graph if name == CUDA else {})) for name in providers_for(device)]
    return onnxruntime.InferenceSession(Path(os.environ["CLUSTNET_BUNDLES"]) / "mixture.onnx", options, providers)


def _run(session: Any, images: NDArray[np.uint8]) -> Callable[[], object]:
    return lambda: session.run(OUTPUTS, {"image": images})


def _binding(session: Any, images: NDArray[np.uint8]) -> Callable[[], object]:
    binding, device = session.io_binding(), _device(session)
    for name in OUTPUTS:
        binding.bind_output(name, device)

    def step() -> object:
        binding.bind_cpu_input("image", images)
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    return step


def _graph(session: Any, images: NDArray[np.uint8]) -> Callable[[], object]:
    """Return a step on memory that stays where it is, as a CUDA graph must find it there again."""
    binding, device = session.io_binding(), _device(session)
    put = onnxruntime.OrtValue.ortvalue_from_numpy(images, device, 0)
    binding.bind_ortvalue_input("image", put)
    shapes = {output.name: [len(images), *output.shape[1:]] for output in session.get_outputs()}
    outputs = [onnxruntime.OrtValue.ortvalue_from_shape_and_type(shapes[n], np.float32, device, 0) for n in OUTPUTS]
    for name, output in zip(OUTPUTS, outputs, strict=True):
        binding.bind_ortvalue_output(name, output)

    def step() -> object:
        put.update_inplace(images)
        session.run_with_iobinding(binding)
        return [output.numpy() for output in outputs]

    return step


def _device(session: Any) -> str:
    return "cuda" if session.get_providers()[0] == CUDA else "cpu"


if __name__ == "__main__":
    main()
