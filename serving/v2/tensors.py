"""Input tensors: from a description with JSON or binary data to the arrays the model reads."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.api.pixels import PixelError, ScaleError, ShapeError, check_range, flat_values, pixels_of, rounded
from serving.headers import HEADER_LENGTH
from serving.refusals import MAX_QUOTE_CHARACTERS, Reason, Refusal, quote

INPUT = "image"
BINARY_SIZE = "binary_data_size"
SHARED_MEMORY = "shared_memory_region"
# Binary data are little-endian.
DTYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
# The exact types, because a bool is an int to isinstance.
JSON_TYPES: dict[str, set[type]] = {"UINT8": {int}, "FP32": {int, float}}
PIXELS = {"UINT8": "whole numbers from 0 to 255", "FP32": "numbers from 0 to 255"}


def read_tensor(tensor: Any, binary: memoryview, image_shape: tuple[int, ...], most: int) -> NDArray[np.uint8]:
    """Return the images of the input ``image``: UINT8, or FP32, whose fractions are rounded as ``/predict`` does.

    Args:
        tensor: the input's description, parsed from JSON: name, datatype, shape, and ``data``, flat or nested, or the
            parameter ``binary_data_size``.
        binary: all that follows the JSON in the body, which must be this tensor alone.
        image_shape: the shape of one image, for example (28, 28).
        most: the most images allowed.

    Returns:
        uint8 [N, *image_shape], N from 1 to ``most``.

    Raises:
        Refusal: 400, naming the fault.
    """
    if not isinstance(tensor, dict):
        raise refusal("wrong_keys", f"The input is {quote(tensor)}; send an object with name, datatype and shape.")
    if tensor.get("name") != INPUT:
        message = f"The input {quote(tensor.get('name'))} is unknown; the model has one input, '{INPUT}'."
        raise refusal("wrong_keys", message)
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise refusal("wrong_datatype", f"{INPUT}: the datatype {quote(datatype)} is unknown; send UINT8 or FP32.")
    shape = _shape(tensor.get("shape"), image_shape, most)
    size = parameters_of(tensor, INPUT).get(BINARY_SIZE)
    try:
        if size is None:
            return rounded(_from_json(tensor, binary, datatype, shape))
        return rounded(_from_binary(tensor, size, binary, datatype, shape))
    except ScaleError as error:
        raise refusal("wrong_value", f"{INPUT}: in image {error.index} {error.fault}") from None
    except PixelError as fault:
        message = f"{INPUT}: the value at {list(fault.place)} is {quote(fault.found)}; {datatype} pixels are "
        raise refusal("wrong_value", f"{message}{PIXELS[datatype]}.") from None


def parameters_of(described: dict[str, Any], subject: str) -> dict[str, Any]:
    """Return the parameters of a request, an input or an output, empty without any; unknown ones are tolerated.

    Raises:
        Refusal: they are not an object, or name shared memory, whose data the service cannot read.
    """
    parameters = described.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise refusal("wrong_keys", f"{subject}: the parameters are {quote(parameters)}, not an object.")
    if SHARED_MEMORY in parameters:
        raise refusal("wrong_keys", f"{subject}: shared memory is not supported; use data in the body.")
    return parameters


def refusal(reason: Reason, message: str) -> Refusal:
    """Return a refusal with 400, the protocol's status for whatever is wrong in a request."""
    return Refusal(400, reason, message)


def _shape(shape: Any, image_shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    if not isinstance(shape, list) or not set(map(type, shape)) <= {int} or tuple(shape[1:]) != image_shape:
        found = ascii(shape)[:MAX_QUOTE_CHARACTERS] if isinstance(shape, list) and len(shape) <= 8 else quote(shape)
        expected = ", ".join(["N", *map(str, image_shape)])
        raise refusal("wrong_shape", f"{INPUT}: the shape is {found}; send [{expected}].")
    if not 1 <= shape[0] <= most:
        raise refusal("wrong_count", f"{INPUT}: {quote(shape[0])} images; send 1 to {most} in one request.")
    return tuple(shape)


def _from_binary(
    tensor: dict[str, Any], size: Any, binary: memoryview, datatype: str, shape: tuple[int, ...]
) -> NDArray[Any]:
    if "data" in tensor:
        raise refusal("wrong_keys", f"{INPUT}: it has both data and {BINARY_SIZE}; send one of them.")
    expected = math.prod(shape) * DTYPES[datatype].itemsize
    if type(size) is not int or size != expected:
        message = f"{INPUT}: {BINARY_SIZE} is {quote(size)}; {datatype} {list(shape)} takes {expected} bytes."
        raise refusal("wrong_bytes", message)
    if len(binary) != expected:
        message = f"{len(binary)} bytes follow the JSON, not the {expected} of '{INPUT}'; "
        message += f"set {HEADER_LENGTH} to the length of the JSON in bytes."
        raise refusal("wrong_bytes", message)
    images = np.frombuffer(binary, DTYPES[datatype]).reshape(shape)
    if datatype != "UINT8":
        check_range(images)
    return images


def _from_json(tensor: dict[str, Any], binary: memoryview, datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if "data" not in tensor:
        raise refusal("wrong_keys", f"{INPUT}: it has neither data nor the parameter {BINARY_SIZE}.")
    if binary:
        message = f"{len(binary)} bytes follow the JSON, but no input has the parameter {BINARY_SIZE}."
        raise refusal("wrong_bytes", message)
    data = tensor["data"]
    # Values are flat in row-major order, or nested as the shape says.
    flat = isinstance(data, list) and len(data) == math.prod(shape) and not isinstance(data[0], list)
    try:
        return pixels_of(data if flat else flat_values(data, shape), JSON_TYPES[datatype], shape)
    except ShapeError:
        message = (
            f"{INPUT}: the data are not the {math.prod(shape)} values of {list(shape)}, flat or nested in that shape."
        )
        raise refusal("wrong_shape", message) from None
