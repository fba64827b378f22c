"""JSON images: from a request body to the arrays the model reads, naming the first fault exactly."""

import json
import math
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from serving.refusals import Refusal

OTHER_VALUES = 1000  # than pixels: names, parameters, outputs
LONGEST_QUOTE = 40  # characters of a client's own text that an answer repeats


def read_images(content: bytes, shape: tuple[int, ...], most: int) -> NDArray[np.uint8]:
    """Read ``{"images": [...]}``: numbers 0 to 255, rounded to the nearest whole one.

    Args:
        content: the request body, JSON in UTF-8.
        shape: the shape of one image, for example (28, 28).
        most: the most images allowed.

    Returns:
        uint8 [N, *shape], N from 1 to ``most``.

    Raises:
        Refusal: 400 for what is not JSON, 413 for more values than the images have, 422 for JSON that is not such
            images; it names the place.
    """
    check_values(content, shape, most)
    try:
        document = from_json(content)
    except ValueError as error:
        raise Refusal(400, "malformed_json", f"The body is not JSON: {error}.") from None
    return images_from(_only_images(document), shape, most)


def check_values(content: bytes, shape: tuple[int, ...], most: int) -> None:
    """Refuse JSON with more values than images have: the parser would hold up all other requests for seconds.

    Args:
        content: the JSON, not parsed yet.
        shape: the shape of one image.
        most: the most images allowed.

    Raises:
        Refusal: 413.
    """
    lists = sum(math.prod(shape[:depth]) for depth in range(len(shape)))
    values = sum(map(content.count, (b",", b"[", b"{")))  # each begins at most one
    if values > most * (math.prod(shape) + lists) + OTHER_VALUES:
        message = f"The body's JSON holds more values than {most} images; send fewer images in one request."
        raise Refusal(413, "body_too_large", message)


def images_from(images: Any, shape: tuple[int, ...], most: int) -> NDArray[np.uint8]:
    """Turn the parsed value of ``images`` into uint8 [N, *shape], as ``read_images``.

    Raises:
        Refusal: 422, naming the image and the fault.
    """
    if not isinstance(images, list):
        raise Refusal(422, "wrong_shape", f"images: {quote(images)} is not a list of images.")
    if not 1 <= len(images) <= most:
        raise Refusal(422, "wrong_count", f"images: {len(images)} images; send 1 to {most} in one request.")
    pixels = np.stack([_pixels(f"images[{index}]", image, shape) for index, image in enumerate(images)])
    return pixels.reshape(-1, *shape)


def check_json(content_type: str) -> None:
    """Refuse a body that is not said to be JSON."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "content_type", f"The content type is {quote(content_type)}; send application/json.")


def quote(value: Any) -> str:
    """Describe a value from a client in a few ASCII characters."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return ascii(value[:LONGEST_QUOTE]) + ("..." if len(value) > LONGEST_QUOTE else "")
    text = json.dumps(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


def _only_images(document: Any) -> Any:
    if not isinstance(document, dict):
        raise Refusal(422, "wrong_keys", f'The body is {quote(document)}; send an object {{"images": [...]}}.')
    if "images" not in document:
        raise Refusal(422, "wrong_keys", 'The body lacks the key "images"; send {"images": [...]}.')
    unknown = next((key for key in document if key != "images"), None)
    if unknown is not None:
        raise Refusal(422, "wrong_keys", f'The body has the unknown key {quote(unknown)}; send only "images".')
    return document["images"]


def _pixels(name: str, image: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return one image flat, uint8 [pixels]."""
    values = _flat(name, image, shape)
    # The exact types, because a bool is an int to isinstance, and to numpy.
    if not set(map(type, values)) <= {int, float}:
        raise _wrong_value(name, values, shape)
    try:
        numbers = np.array(values, np.float64)
    except OverflowError:
        raise _wrong_value(name, values, shape) from None
    if not (numbers.min() >= 0 and numbers.max() <= 255):  # NaN compares false
        raise _wrong_value(name, values, shape)
    return np.rint(numbers).astype(np.uint8)


def _flat(name: str, image: Any, shape: tuple[int, ...]) -> list[Any]:
    """Flatten nested lists of exactly ``shape``."""
    level = [image]
    for depth, length in enumerate(shape):
        for position, part in enumerate(level):
            if not isinstance(part, list) or len(part) != length:
                place = _place(position, shape[:depth])
                subject = f"the value at {place} is" if place else "it is"
                fault = f"{subject} {quote(part)}, not a list of {length}"
                raise Refusal(422, "wrong_shape", f"{name}: {fault}; an image is {_kind(shape)}.")
        level = list(chain.from_iterable(level))
    return level


def _wrong_value(name: str, values: list[Any], shape: tuple[int, ...]) -> Refusal:
    """Name the first value that is not a number from 0 to 255; there is one."""
    position = next(i for i, value in enumerate(values) if not _is_pixel(value))
    fault = f"the value at {_place(position, shape)} is {quote(values[position])}"
    return Refusal(422, "wrong_value", f"{name}: {fault}; an image is {_kind(shape)}.")


def _is_pixel(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 255


def _place(position: int, shape: tuple[int, ...]) -> str:
    """Return the flat ``position`` in an array of ``shape`` as ``[row][column]``."""
    return "".join(f"[{int(index)}]" for index in np.unravel_index(position, shape)) if shape else ""


def _kind(shape: tuple[int, ...]) -> str:
    return f"{'x'.join(map(str, shape))} numbers from 0 to 255"
