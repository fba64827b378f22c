"""Preparation of image files as model input."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.decoding import MAX_SIDE_PIXELS, ImageError, Reason, decode, has_colour
from clustnet.bundles.digits import prepare_digit

__all__ = [
    "MAX_SIDE_PIXELS",
    "ImageError",
    "Reason",
    "decode",
    "has_colour",
    "prepare",
    "prepare_digit",
    "prepare_image",
]

# A digit is reduced to 20 pixels a side, so a larger drawing gains nothing.
MAX_DRAWING_PIXELS = 1024


def prepare(content: bytes, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the model input made from the bytes of an image file, uint8 with the shape of ``spec``.

    Args:
        content: a PNG, JPEG, WebP or BMP file.
        spec: the input specification of the bundle.

    Raises:
        ImageError: the file is not such an image, is cut short, has over ``MAX_SIDE_PIXELS`` on a side, or (for
            ``mnist``) is blank or shows several digits.
    """
    return prepare_image(decode(content), spec)


def prepare_image(image: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the model input made from an RGB image, as ``prepare`` does.

    Raises:
        ImageError: for ``mnist``, the image is blank or shows several digits.
    """
    if spec.preparation == "mnist":
        grey = image.convert("L")
        # This only shrinks an image, which bounds the memory of the steps below.
        grey.thumbnail((MAX_DRAWING_PIXELS, MAX_DRAWING_PIXELS))
        return prepare_digit(np.asarray(grey))
    size = spec.shape[1], spec.shape[0]
    image = image.convert("RGB" if spec.colour else "L")
    if spec.preparation == "resize":
        return np.asarray(image.resize(size, Image.Resampling.BOX))
    if spec.aspect == "pad":
        return np.asarray(_padded(image, size))
    return np.asarray(ImageOps.fit(image, size, Image.Resampling.BILINEAR))


def _padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the whole image, resized, in the middle of a black field of this width and height.

    Unlike with ``ImageOps.pad``, even the thinnest image keeps one pixel.
    """
    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    field = Image.new(image.mode, size)
    place = (size[0] - width) // 2, (size[1] - height) // 2
    field.paste(image.resize((width, height), Image.Resampling.BILINEAR), place)
    return field
