"""Inference requests: a JSON object, alone or followed by the bytes of the binary tensor data extension."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.predictor import OUTPUTS, TREE_OUTPUT
from serving.api.inputs import check_values, parse_json
from serving.headers import HEADER_LENGTH
from serving.refusals import quote
from serving.v2.tensors import parameters_of, read_tensor, refusal

# The outputs that have a value for each label, or for each expert.
CLASSIFIED = ("class_probability", "coarse_probability", "routing", TREE_OUTPUT)


@dataclass(frozen=True)
class Form:
    """The form in which an output is returned.

    Args:
        binary: whether the output is binary data, if the transport has a choice.
        classes: how many labels with the largest values to return instead of the values; 0 for the values.
    """

    binary: bool = False
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """What a client requests.

    Args:
        images: uint8 ``[N, *input shape]``.
        outputs: the names of the outputs to return, in order, and the form of each.
        id: the client's own name for the request, which the answer repeats; None without one.
    """

    images: NDArray[np.uint8]
    outputs: dict[str, Form]
    id: str | None


def read_request(
    content: bytes,
    header_length: str | None,
    image_shape: tuple[int, ...],
    most: int,
    known: Collection[str] = tuple(OUTPUTS),
) -> InferRequest:
    """Return what the body of an inference request says, ignoring keys and parameters unknown to the protocol.

    Args:
        content: the body, unpacked.
        header_length: the value of the header ``HEADER_LENGTH``, None if the whole body is JSON.
        image_shape: the shape of one image.
        most: the most images allowed.
        known: the names of the outputs that the model has.

    Raises:
        Refusal: 400, naming the fault, or 413 for JSON with more values than the images can have.
    """
    header, binary = _split(content, header_length)
    check_values(header, image_shape, most)
    return request_of(_document(header), binary, image_shape, most, known)


def request_of(
    document: dict[str, Any], binary: memoryview, image_shape: tuple[int, ...], most: int, known: Collection[str]
) -> InferRequest:
    """Return the content of a parsed request, as ``read_request`` does; ``binary`` holds its binary data."""
    outputs = _outputs(document, known)
    inputs = document.get("inputs")
    if not isinstance(inputs, list):
        raise refusal("wrong_keys", f'The key "inputs" is {quote(inputs)}; send a list with one input.')
    if len(inputs) != 1:
        raise refusal("wrong_count", f"There are {len(inputs)} inputs; the model has one.")
    return InferRequest(read_tensor(inputs[0], binary, image_shape, most), outputs, document.get("id"))


def read_object(content: bytes) -> dict[str, Any]:
    """Return a parsed JSON object; the parser limits its depth.

    Raises:
        Refusal: 400 for what is not JSON, or not an object.
    """
    try:
        document = parse_json(content)
    except ValueError as error:
        raise refusal("malformed_json", f"The body's JSON cannot be read: {error}.") from None
    if not isinstance(document, dict):
        raise refusal("wrong_keys", f"The body is {quote(document)}; send a JSON object.")
    return document


def _split(content: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """Return the JSON and what follows it."""
    if header_length is None:
        return content, memoryview(b"")
    digits = header_length.strip()
    # 20 digits are over any length, and Python refuses to convert thousands.
    length = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else 0
    if not 1 <= length <= len(content):
        message = f"{HEADER_LENGTH} is {quote(header_length)}; the body has {len(content)} bytes, "
        raise refusal("wrong_bytes", message + "so send the length of its JSON, a whole number from 1 to that.")
    return content[:length], memoryview(content)[length:]


def _document(header: bytes) -> dict[str, Any]:
    document = read_object(header)
    name = document.get("id")
    if name is not None and not isinstance(name, str):
        raise refusal("wrong_keys", f"The id is {quote(name)}; send a string, or none.")
    return document


def _outputs(document: dict[str, Any], known: Collection[str]) -> dict[str, Form]:
    """Return the requested outputs; all of them where the request names none."""
    binary = _flag(parameters_of(document, "The request"), "binary_data_output", default=False)
    requested = document.get("outputs")
    if requested is None or requested == []:
        return dict.fromkeys(known, Form(binary))
    if not isinstance(requested, list):
        raise refusal("wrong_keys", f'The key "outputs" is {quote(requested)}; send a list of objects with a name.')
    outputs: dict[str, Form] = {}
    for output in requested:
        name = _output_name(output, known)
        if name in outputs:
            raise refusal("wrong_keys", f"The output {quote(name)} is named twice; name it once.")
        outputs[name] = _form(parameters_of(output, name), name, binary)
    return outputs


def _output_name(output: Any, known: Collection[str]) -> str:
    name = output.get("name") if isinstance(output, dict) else output
    if not isinstance(output, dict) or not isinstance(name, str) or name not in known:
        raise refusal("wrong_keys", f"The output {quote(name)} is unknown; the model has {', '.join(known)}.")
    return name


def _form(parameters: dict[str, Any], name: str, binary: bool) -> Form:
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise refusal(
            "wrong_value", f"{name}: classification is {quote(classes)}; send the number of classes to return."
        )
    if classes and name not in CLASSIFIED:
        message = f"{name}: it has no classes; ask for the classification of {', '.join(CLASSIFIED)}."
        raise refusal("wrong_keys", message)
    return Form(_flag(parameters, "binary_data", default=binary), classes)


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise refusal("wrong_keys", f"The parameter {name} is {quote(value)}; send true or false.")
    return value
