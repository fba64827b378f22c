"""JSON images: from a request body to the arrays the model reads, naming the first fault exactly."""

import codecs
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from serving.api.pixels import PixelError, ScaleError, ShapeError, flat_values, pixels_of, rounded
from serving.refusals import Refusal, quote

# The most values of a request that are not pixels: names, parameters, outputs.
MAX_OTHER_VALUES = 1000


def read_images(content: bytes, shape: tuple[int, ...], most: int) -> NDArray[np.uint8]:
    """Return the images of ``{"images": [...]}``: numbers from 0 to 255, rounded to the nearest whole number.

    Args:
        content: the request body, JSON in UTF-8.
        shape: the shape of one image, for example (28, 28).
        most: the most images allowed.

    Returns:
        uint8 [N, *shape], N from 1 to ``most``.

    Raises:
        Refusal: 400 for what is not JSON, 413 for more values than the images can have, 422 for JSON that does not
            hold such images; the refusal names the place.
    """
    check_values(content, shape, most)
    try:
        document = parse_json(content)
    except ValueError as error:
        raise Refusal(400, "malformed_json", f"The body is not JSON: {error}.") from None
    return images_from(_only_images(document), shape, most)


def parse_json(content: bytes) -> Any:
    """Return JSON in UTF-8 as Python objects; a leading byte-order mark is accepted.

    Raises:
        ValueError: it is not JSON.
    """
    return from_json(without_mark(content))


def without_mark(content: bytes) -> bytes:
    """Return text in UTF-8 without the byte-order mark that some programs write before it."""
    return content.removeprefix(codecs.BOM_UTF8)


def check_values(content: bytes, shape: tuple[int, ...], most: int) -> None:
    """Refuse JSON with more values than the images can have: parsing it would delay all other requests by seconds.

    Args:
        content: the JSON, not parsed yet.
        shape: the shape of one image.
        most: the most images allowed.

    Raises:
        Refusal: 413.
    """
    lists = sum(math.prod(shape[:depth]) for depth in range(len(shape)))
    # Each of these begins at most one value.
    values = sum(map(content.count, (b",", b"[", b"{")))
    if values > most * (math.prod(shape) + lists) + MAX_OTHER_VALUES:
        message = f"The body's JSON holds more values than {most} images; send fewer images in one request."
        raise Refusal(413, "body_too_large", message)


def images_from(images: Any, shape: tuple[int, ...], most: int) -> NDArray[np.uint8]:
    """Return the parsed value of ``images`` as uint8 [N, *shape], as ``read_images`` does.

    Raises:
        Refusal: 422, naming the image and the fault.
    """
    if not isinstance(images, list):
        raise Refusal(422, "wrong_shape", f"images: {quote(images)} is not a list of images.")
    if not 1 <= len(images) <= most:
        raise Refusal(422, "wrong_count", f"images: {len(images)} images; send 1 to {most} in one request.")
    pixels = np.stack([_read_image(f"images[{index}]", image, shape) for index, image in enumerate(images)])
    try:
        return rounded(pixels)
    except ScaleError as error:
        raise Refusal(422, "wrong_value", f"images[{error.index}]: {error.fault}") from None


def check_json(content_type: str) -> None:
    """Refuse a body whose content type is not JSON."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "content_type", f"The content type is {quote(content_type)}; send application/json.")


def _only_images(document: Any) -> Any:
    if not isinstance(document, dict):
        raise Refusal(422, "wrong_keys", f'The body is {quote(document)}; send an object {{"images": [...]}}.')
    if "images" not in document:
        raise Refusal(422, "wrong_keys", 'The body lacks the key "images"; send {"images": [...]}.')
    unknown = next((key for key in document if key != "images"), None)
    if unknown is not None:
        raise Refusal(422, "wrong_keys", f'The body has the unknown key {quote(unknown)}; send only "images".')
    return document["images"]


def _read_image(name: str, image: Any, shape: tuple[int, ...]) -> NDArray[np.floating]:
    """Return one image of ``shape``, numbers from 0 to 255; the refusal mentions ``name``.

    Raises:
        Refusal: 422, naming the place.
    """
    kind = f"an image is {'x'.join(map(str, shape))} numbers from 0 to 255"
    try:
        return pixels_of(flat_values(image, shape), (int, float), shape)
    except ShapeError as fault:
        subject = f"the value at {_index(fault.place)} is" if fault.place else "it is"
        message = f"{name}: {subject} {quote(fault.found)}, not a list of {fault.length}; {kind}."
        raise Refusal(422, "wrong_shape", message) from None
    except PixelError as fault:
        message = f"{name}: the value at {_index(fault.place)} is {quote(fault.found)}; {kind}."
        raise Refusal(422, "wrong_value", message) from None


def _index(place: tuple[int, ...]) -> str:
    """Return indices as ``[row][column]``."""
    return "".join(f"[{index}]" for index in place)
