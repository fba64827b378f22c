"""From the protocol's messages to what their JSON would say, and from outputs to messages."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictions
from serving.rpc.protocol import messages
from serving.v2.requests import InferRequest, request_of
from serving.v2.responses import content_of, datatype_of, tensors_of
from serving.v2.tensors import BINARY_SIZE, refusal

# Where a tensor of this type has its values, if they are not raw.
CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents"}


def read_message(asked: Any, image_shape: tuple[int, ...], most: int, known: Collection[str]) -> InferRequest:
    """Return what the ``ModelInferRequest`` ``asked`` says, as ``serving.v2.requests.read_request`` does for a body.

    Raises:
        Refusal: 400, naming the fault.
    """
    raw = list(asked.raw_input_contents)
    if raw and len(raw) != len(asked.inputs):
        raise refusal(
            "wrong_count", f"There are {len(raw)} raw contents for {len(asked.inputs)} inputs; send one for each input."
        )
    values = most * math.prod(image_shape)
    document = {
        "id": asked.id or None,
        "parameters": parameters(asked.parameters),
        "inputs": [
            _described(tensor, content, values)
            for tensor, content in zip(asked.inputs, raw or [None] * len(asked.inputs), strict=True)
        ],
        "outputs": [{"name": output.name, "parameters": parameters(output.parameters)} for output in asked.outputs],
    }
    return request_of(document, memoryview(raw[0] if raw else b""), image_shape, most, known)


def parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a message's parameters by name."""
    return {name: getattr(value, value.WhichOneof("parameter_choice") or "", None) for name, value in given.items()}


def write_message(request: InferRequest, outputs: Predictions, manifest: Manifest) -> Any:
    """Return the ``ModelInferResponse``; the values are raw, as Triton's are."""
    tensors = tensors_of(request, outputs, manifest)
    return messages.ModelInferResponse(
        model_name=manifest.name,
        model_version=manifest.version,
        id=request.id or "",
        outputs=[
            {"name": name, "datatype": datatype_of(values), "shape": values.shape} for name, values in tensors.items()
        ],
        raw_output_contents=list(map(content_of, tensors.values())),
    )


def _described(tensor: Any, raw: bytes | None, most_values: int) -> dict[str, Any]:
    """Return a tensor as its JSON would be, with at most one value more than a request may have."""
    content: Iterable[Any] = getattr(tensor.contents, CONTENTS.get(tensor.datatype, "uint_contents"))
    given = {name: value for name, value in parameters(tensor.parameters).items() if name != BINARY_SIZE}
    described = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "parameters": given}
    if raw is not None:
        given[BINARY_SIZE] = len(raw)
    else:
        described["data"] = content[: most_values + 1]  # type: ignore[index] # protobuf's own list
    return described
