"""Bodies of inference requests, written by hand so that nothing of the service's own vouches for it."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import NDArray

from serving.refusals import Refusal

R = TypeVar("R")
LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"uint8": "UINT8", "float32": "FP32"}


def described(images: NDArray[Any], **changes: Any) -> dict[str, Any]:
    """Describe the input ``image`` without its data."""
    tensor = {"name": "image", "datatype": DATATYPES[images.dtype.name], "shape": list(images.shape)}
    return tensor | changes


def json_body(images: NDArray[Any], **changes: Any) -> dict[str, Any]:
    """Return a request whose data are JSON; ``changes`` replace its keys."""
    return {"inputs": [described(images, data=images.ravel().tolist())]} | changes


def binary_body(images: NDArray[Any], **changes: Any) -> tuple[bytes, dict[str, str]]:
    """Return a body whose data are binary, and its headers; ``changes`` replace keys of the JSON."""
    tensor = described(images, parameters={"binary_data_size": images.nbytes})
    header = json.dumps({"inputs": [tensor]} | changes).encode()
    return header + images.tobytes(), {LENGTH: str(len(header))}


def outcome(call: Callable[[], R]) -> R | Refusal:
    """Return what ``call`` returns, or the refusal that it raises."""
    try:
        return call()
    except Refusal as refusal:
        return refusal
