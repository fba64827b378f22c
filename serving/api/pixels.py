"""Pixels: from a client's nested lists or numbers to whole numbers from 0 to 255, naming the place of the first fault.

Every protocol reads them here and words its own refusal.
"""

from collections.abc import Collection
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.pixels import unit_scale_fault

MAX_PIXEL = 255


class ShapeError(Exception):
    """Raised for lists that are not nested as the shape says.

    Args:
        place: the indices of the first value that is not such a list, () for the outermost.
        found: that value.
        length: the length that the list should have.
    """

    def __init__(self, place: tuple[int, ...], found: Any, length: int) -> None:
        super().__init__()
        self.place, self.found, self.length = place, found, length


class PixelError(Exception):
    """Raised for a value that is not a pixel.

    Args:
        place: the value's indices.
        found: the value.
    """

    def __init__(self, place: tuple[int, ...], found: Any) -> None:
        super().__init__()
        self.place, self.found = place, found


class ScaleError(Exception):
    """Raised for an image whose pixels are on another scale.

    Args:
        index: index of the image.
        fault: a sentence about it.
    """

    def __init__(self, index: int, fault: str) -> None:
        super().__init__()
        self.index, self.fault = index, fault


def flat_values(nested: Any, shape: tuple[int, ...]) -> list[Any]:
    """Return the values of lists that are nested as ``shape`` says, in row-major order.

    Raises:
        ShapeError: the lists are nested otherwise.
    """
    level = [nested]
    for depth, length in enumerate(shape):
        for position, part in enumerate(level):
            if not isinstance(part, list) or len(part) != length:
                raise ShapeError(_place(position, shape[:depth]), part, length)
        level = list(chain.from_iterable(level))
    return level


def pixels_of(values: list[Any], types: Collection[type], shape: tuple[int, ...]) -> NDArray[np.floating]:
    """Return parsed numbers from 0 to 255 as float64 of ``shape``.

    Args:
        values: as many values as the shape has.
        types: the exact types that are allowed, because a bool is an int to isinstance and to numpy.
        shape: the shape of the result.

    Raises:
        PixelError: a value is of another type, or not from 0 to 255.
    """
    try:
        # An integer may be too large for a float.
        numbers = np.array(values, np.float64) if set(map(type, values)) <= set(types) else None
    except OverflowError:
        numbers = None
    # NaN compares false.
    if numbers is None or not (numbers.min() >= 0 and numbers.max() <= MAX_PIXEL):
        faults = (i for i, value in enumerate(values) if type(value) not in types or not 0 <= value <= MAX_PIXEL)
        position = next(faults)
        raise PixelError(_place(position, shape), values[position])
    return numbers.reshape(shape)


def check_range(numbers: NDArray[Any]) -> None:
    """Check that all numbers are from 0 to 255.

    Raises:
        PixelError: a number is outside, or NaN.
    """
    # NaN compares false.
    if not (numbers.min() >= 0 and numbers.max() <= MAX_PIXEL):
        with np.errstate(invalid="ignore"):
            outside = ~((numbers >= 0) & (numbers <= MAX_PIXEL))
        position = int(outside.argmax())
        raise PixelError(_place(position, numbers.shape), numbers.flat[position].item())


def rounded(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return images rounded to the nearest whole numbers, uint8 of the same shape.

    Args:
        images: numbers from 0 to 255 [N, ...], N >= 1.

    Raises:
        ScaleError: an image's pixels are from 0 to 1.
    """
    fault = unit_scale_fault(images)
    if fault is not None:
        raise ScaleError(*fault)
    whole: NDArray[np.uint8] = images if images.dtype == np.uint8 else np.rint(images).astype(np.uint8)
    return whole


def _place(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the indices of a flat position in an array of ``shape``."""
    return tuple(int(index) for index in np.unravel_index(position, shape)) if shape else ()
