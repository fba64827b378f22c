"""The bundle's graph, opened as plainly as every peer does."""

import os
from pathlib import Path

import onnxruntime

OUTPUTS = ["coarse_probability", "routing", "expert_probability", "class_probability", "confidence"]


def open_session() -> onnxruntime.InferenceSession:
    """Open ``mixture.onnx`` of the bundle that ``CLUSTNET_BUNDLES`` names, with one thread on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = Path(os.environ["CLUSTNET_BUNDLES"]) / "mixture.onnx"
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
