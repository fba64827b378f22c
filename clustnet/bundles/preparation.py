"""From an image file to the model's input, in bounded memory and without surprises."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from clustnet.bundles.bundle import DIGIT_SHAPE, InputSpec
from clustnet.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# A camera's picture fits, a decompression bomb does not.
MAX_SIDE_PIXELS = 4096
# A digit is reduced to 20 pixels a side, so a larger drawing gains nothing.
MAX_DRAWING_PIXELS = 1024
DIGIT_BOX_PIXELS = 20
# Between the channels of a grey pixel; lossy WebP makes a difference of one level.
MAX_GREY_DIFFERENCE_LEVELS = 3
# Pillow's modes of grey files, whose pixels need no look.
GREY_MODES = {"1", "L", "LA", "I", "I;16"}
# A share of the range between paper and the darkest ink; what is fainter is noise.
MIN_INK = 0.05

Reason = Literal["not_an_image", "truncated_image", "image_too_large", "blank_image"]


class ImageError(UserError):
    """An image file that cannot be used; ``reason`` is a short word for metrics."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def prepare(content: bytes, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the model input made from the bytes of an image file, uint8 of the specification's shape.

    Args:
        content: a PNG, JPEG, WebP or BMP file.
        spec: the bundle's input.

    Raises:
        ImageError: not such a file, cut short, over ``MAX_SIDE_PIXELS`` a side, or (for ``mnist``) blank.
    """
    return prepare_image(decode(content), spec)


def prepare_image(image: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the model input made from an RGB image, as ``prepare`` does.

    Raises:
        ImageError: for ``mnist`` a blank one.
    """
    if spec.preparation == "mnist":
        grey = image.convert("L")
        # It only shrinks, which bounds the memory of the steps below.
        grey.thumbnail((MAX_DRAWING_PIXELS, MAX_DRAWING_PIXELS))
        return prepare_digit(np.asarray(grey))
    size = spec.shape[1], spec.shape[0]
    image = image.convert("RGB" if spec.colour else "L")
    if spec.preparation == "resize":
        return np.asarray(image.resize(size, Image.Resampling.BOX))
    if spec.aspect == "pad":
        return np.asarray(_padded(image, size))
    return np.asarray(ImageOps.fit(image, size, Image.Resampling.BILINEAR))


def has_colour(content: bytes) -> bool:
    """Return whether an image file shows any colour, which a file with three channels need not.

    Raises:
        ImageError: as ``prepare``.
    """
    with _opened(content) as image:
        if image.mode in GREY_MODES:
            return False
        red, green, blue = _over_white(image).split()
    differences = (ImageChops.difference(first, second) for first, second in ((red, green), (green, blue), (blue, red)))
    return any(np.asarray(difference).max() > MAX_GREY_DIFFERENCE_LEVELS for difference in differences)


def decode(content: bytes) -> Image.Image:
    """Return the image in a file: RGB, upright, transparency laid over white.

    Its dimensions are checked before any pixel is decoded.

    Raises:
        ImageError: as ``prepare``.
    """
    with _opened(content) as image:
        image.load()
        return _over_white(ImageOps.exif_transpose(image))


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Yield the image in a file, whose pixels are not decoded yet; what Pillow raises becomes an ``ImageError``."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(*image.size)
            yield image
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(
            "image_too_large", f"The image has over {MAX_SIDE_PIXELS} pixels a side; make it smaller."
        ) from None
    except UnidentifiedImageError:
        raise ImageError("not_an_image", "The file is not a PNG, JPEG, WebP or BMP image; send one of these.") from None
    except Exception:  # noqa: BLE001 - on damaged files Pillow raises a dozen types of its own
        raise ImageError("truncated_image", "The image file is cut short or damaged; send it whole.") from None


def prepare_digit(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a drawing prepared as MNIST's digits were, uint8 [28, 28], 0 paper and 255 ink.

    Ink is made bright, cropped, fitted into 20x20 with its proportions and centred by its mass in 28x28
    (LeCun et al. 1998).

    Args:
        grey: uint8 [H, W], dark ink on light paper or the other way round.

    Raises:
        ImageError: one flat colour, which holds nothing to read.
    """
    ink = _bright_ink(grey)
    if ink.max() < 1:
        raise ImageError("blank_image", "The image is one flat colour, so there is nothing to read; draw a digit.")
    drawn = ink > MIN_INK * 255
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _centre_by_mass(_fitted(cropped, DIGIT_BOX_PIXELS), DIGIT_SHAPE[0])


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE_PIXELS:
        raise ImageError(
            "image_too_large",
            f"The image has {width}x{height} pixels, but at most {MAX_SIDE_PIXELS} a side are read; make it smaller.",
        )


def _over_white(image: Image.Image) -> Image.Image:
    """Return the image as RGB, its transparency laid over white."""
    # 16-bit grey, which Pillow would clip rather than scale.
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")


def _padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the whole image in the middle of a black field of this width and height.

    Unlike in ``ImageOps.pad`` the thinnest image keeps a pixel.
    """
    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    field = Image.new(image.mode, size)
    place = (size[0] - width) // 2, (size[1] - height) // 2
    field.paste(image.resize((width, height), Image.Resampling.BILINEAR), place)
    return field


def _bright_ink(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return 0 for paper up to 255 for the strongest ink.

    The border shows the paper, and ink is what differs from it most: either the darker or the brighter.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    darker = paper - grey.astype(np.float64)
    ink = np.clip(darker if darker.max() >= -darker.min() else -darker, 0, None)
    return np.asarray(ink * (255 / ink.max()) if ink.max() >= 1 else ink)


def _fitted(ink: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return ``ink`` resized so that its longer side is ``side``."""
    height, width = ink.shape
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = Image.fromarray(ink.astype(np.float32)).resize(
        size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    )
    return np.clip(np.asarray(resized, np.float64), 0, 255)


def _centre_by_mass(ink: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """Return a ``side`` x ``side`` field with ``ink`` laid into it, its mass centred by whole pixels."""
    field = np.zeros((side, side), np.uint8)
    corner = []
    for axis, length in enumerate(ink.shape):
        mass = ink.sum(axis=1 - axis)
        centre = (mass * np.arange(length)).sum() / mass.sum()
        corner.append(int(np.clip(round(side / 2 - centre), 0, side - length)))
    top, left = corner
    field[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(ink)
    return field
