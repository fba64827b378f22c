"""The protocol's answers: metadata, and outputs as JSON or binary data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

import clustnet
from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictions, Predictor
from serving.headers import CONTENT_TYPE, HEADER_LENGTH
from serving.v2.requests import InferRequest
from serving.v2.tensors import BINARY_SIZE, INPUT

FP32 = np.dtype("<f4")
JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"


def server_metadata() -> dict[str, Any]:
    """Return the answer of ``/v2``."""
    return {
        "name": "clustnet",
        "version": clustnet.__version__,
        "extensions": ["binary_tensor_data", "model_repository"],
    }


def model_metadata(predictor: Predictor, versions: list[str]) -> dict[str, Any]:
    """Return the answer of ``/v2/models/NAME``, which has these versions; -1 stands for the number of images."""
    manifest = predictor.manifest
    return {
        "name": manifest.name,
        "versions": versions,
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *manifest.input.shape]}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": [-1, *size]} for name, size in predictor.outputs.items()
        ],
    }


def write_response(request: InferRequest, outputs: Predictions, manifest: Manifest) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of an answer.

    Args:
        request: names the outputs, in order, and those that are binary data.
        outputs: float32 arrays, [N, K], [N, E], [N, E, K], [N, C] and [N].
        manifest: names the model.
    """
    arrays = {name: getattr(outputs, name).astype(FP32, copy=False) for name in request.outputs}
    document = {
        "model_name": manifest.name,
        "model_version": manifest.version,
        **({} if request.id is None else {"id": request.id}),
        "outputs": [_describe(name, array, request.outputs[name]) for name, array in arrays.items()],
    }
    header = to_json(document)
    binary = [array.tobytes() for name, array in arrays.items() if request.outputs[name]]
    if not binary:
        return header, {CONTENT_TYPE: JSON_TYPE}
    return b"".join([header, *binary]), {CONTENT_TYPE: BINARY_TYPE, HEADER_LENGTH: str(len(header))}


def _describe(name: str, array: NDArray[np.float32], binary: bool) -> dict[str, Any]:
    """Return a tensor's description, with its values row by row unless they are binary data."""
    content = {"parameters": {BINARY_SIZE: array.nbytes}} if binary else {"data": array.ravel().tolist()}
    return {"name": name, "datatype": "FP32", "shape": list(array.shape), **content}
