"""The protocol's answers: metadata, and outputs as JSON or binary data."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

import clustnet
from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import TREE_OUTPUT, Predictions, Predictor
from serving.headers import CONTENT_TYPE, HEADER_LENGTH
from serving.metrics.metrics import counted
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
        "extensions": ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"],
    }


def model_metadata(predictor: Predictor, versions: list[str]) -> dict[str, Any]:
    """Return the answer of ``/v2/models/NAME`` for a model with these versions; -1 stands for the number of images."""
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


def model_config(predictor: Predictor, max_images: int) -> dict[str, Any]:
    """Return a model's configuration as Triton would have it; its dimensions leave out the number of images."""
    manifest = predictor.manifest
    return {
        "name": manifest.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": max_images,
        "input": [{"name": INPUT, "data_type": "TYPE_UINT8", "dims": [*manifest.input.shape]}],
        # Triton has no outputs without a dimension either.
        "output": [
            {"name": name, "data_type": "TYPE_FP32", "dims": size or [1]} for name, size in predictor.outputs.items()
        ],
    }


def statistics_of(manifests: Iterable[Manifest]) -> dict[str, Any]:
    """Return what each version has answered since the start, in Triton's form; times are those in onnxruntime."""
    rows, served = [], list(manifests)
    for manifest, (inferences, images, seconds) in zip(served, counted(served), strict=True):
        total = {"count": inferences, "ns": round(1e9 * seconds)}
        rows.append(
            {
                "name": manifest.name,
                "version": manifest.version,
                "inference_count": images,
                "execution_count": inferences,
                "inference_stats": {"success": total, "compute_infer": total},
            }
        )
    return {"model_stats": rows}


def write_response(request: InferRequest, outputs: Predictions, manifest: Manifest) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of an answer.

    Args:
        request: names the outputs, in order, and those that are binary data.
        outputs: float32 arrays, [N, K], [N, E], [N, E, K], [N, C] and [N].
        manifest: names the model.
    """
    tensors = tensors_of(request, outputs, manifest)
    binary = {name: content_of(values) for name, values in tensors.items() if request.outputs[name].binary}
    document = {
        "model_name": manifest.name,
        "model_version": manifest.version,
        **({} if request.id is None else {"id": request.id}),
        "outputs": [_describe(name, values, binary.get(name)) for name, values in tensors.items()],
    }
    header = to_json(document)
    if not binary:
        return header, {CONTENT_TYPE: JSON_TYPE}
    return b"".join([header, *binary.values()]), {CONTENT_TYPE: BINARY_TYPE, HEADER_LENGTH: str(len(header))}


def datatype_of(values: NDArray[Any]) -> str:
    """Return the protocol's name of the type of an output's values: FP32, or BYTES if they are a classification."""
    return "FP32" if values.dtype == FP32 else "BYTES"


def content_of(values: NDArray[Any]) -> bytes:
    """Return an output's values as binary data; each text follows its length."""
    if values.dtype == FP32:
        return values.tobytes()
    texts = [text.encode() for text in values.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def tensors_of(request: InferRequest, outputs: Predictions, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Return the values of the outputs that a request names, in its order, as ``write_response`` takes them."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, form in request.outputs.items():
        values = getattr(outputs, name).astype(FP32, copy=False)
        tensors[name] = _largest(values, form.classes, _labels(name, manifest)) if form.classes else values
    return tensors


def _largest(values: NDArray[np.float32], classes: int, labels: Sequence[str]) -> NDArray[np.object_]:
    """Return the ``classes`` largest of each row of [N, C] as Triton writes them, ``VALUE:INDEX`` and ``:LABEL``."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :classes]
    tails = [f"{index}:{labels[index]}" if labels else str(index) for index in range(values.shape[1])]
    rows = [[f"{row[i]:f}:{tails[i]}" for i in some] for row, some in zip(values.tolist(), order.tolist(), strict=True)]
    return np.array(rows, object)


def _labels(name: str, manifest: Manifest) -> Sequence[str]:
    """Return the labels of an output's values; experts have none."""
    if name == TREE_OUTPUT:
        return [label.name for label in manifest.tree or ()]
    return {"class_probability": manifest.class_names, "coarse_probability": manifest.coarse_labels}.get(name, ())


def _describe(name: str, values: NDArray[Any], binary: bytes | None) -> dict[str, Any]:
    """Return a tensor's description, with its values row by row unless they are binary data."""
    content = {"data": values.ravel().tolist()} if binary is None else {"parameters": {BINARY_SIZE: len(binary)}}
    return {"name": name, "datatype": datatype_of(values), "shape": list(values.shape), **content}
