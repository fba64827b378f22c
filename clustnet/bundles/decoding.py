"""Decoding of image files from untrusted sources, in bounded memory."""

import io
from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from clustnet.bundles.image_parts import CHUNK_BYTES, CHUNK_HEADER_BYTES, PNG_SIGNATURE, excess_of
from clustnet.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# Enough for a camera's picture, too little for a decompression bomb.
MAX_SIDE_PIXELS = 4096
# The most that the channels of a grey pixel may differ; lossy WebP makes them differ by one level.
MAX_GREY_DIFFERENCE_LEVELS = 3
# Pillow's modes of grey files, whose pixels need not be examined.
GREY_MODES = {"1", "L", "LA", "I", "I;16"}
# The usual bit depths of grey values that are stored in 16 bits: cameras and scanners measure 8, 10 or 12.
GREY_BITS = (8, 10, 12, 16)
# How many frames of an animation, and how many of their pixels, are searched for a frame that is not blank.
MAX_FRAMES, MAX_FRAME_PIXELS = 8, 2**22
# The chunks of a PNG that hold its pixels and the camera's orientation.
PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf"}

Reason = Literal["not_an_image", "truncated_image", "image_too_large", "blank_image", "several_digits"]
T = TypeVar("T")


class ImageError(UserError):
    """An image file that cannot be used; ``reason`` is a short word for metrics."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def decode(content: bytes) -> Image.Image:
    """Return the image in a file as RGB, upright and without transparency.

    Transparent pixels become white, or black if the image would be blank on white. The dimensions are checked before
    any pixel is decoded. An animation is represented by its first frame, or if that is blank by the first that is not.

    Raises:
        ImageError: the file is not a PNG, JPEG, WebP or BMP, is cut short, has over ``MAX_SIDE_PIXELS`` on a side or
            has too many parts.
    """
    return _opened(content, _pixels)


def has_colour(content: bytes) -> bool:
    """Return whether an image file shows any colour; one with three channels may still be grey.

    Raises:
        ImageError: as for ``decode``.
    """
    return _opened(content, _has_colour)


def _opened(content: bytes, use: Callable[[Image.Image], T]) -> T:
    """Return what ``use`` makes of the image in a file.

    A PNG that cannot be read is tried again without its texts and profiles.

    Raises:
        ImageError: as for ``decode``.
    """
    excess = excess_of(content)
    if excess:
        raise ImageError("image_too_large", excess)
    try:
        return _used(content, use)
    except ImageError as error:
        if error.reason not in ("not_an_image", "truncated_image"):
            raise
        pixels = _without_metadata(content)
        if len(pixels) == len(content):
            raise
        return _used(pixels, use)


def _used(content: bytes, use: Callable[[Image.Image], T]) -> T:
    """Return what ``use`` makes of the image in a file; what Pillow raises becomes an ``ImageError``."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(*image.size)
            return use(image)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(
            "image_too_large", f"The image has more than {MAX_SIDE_PIXELS} pixels on a side; make it smaller."
        ) from None
    except UnidentifiedImageError:
        raise ImageError("not_an_image", "The file is not a PNG, JPEG, WebP or BMP image; send one of these.") from None
    except Exception:  # noqa: BLE001 - on damaged files Pillow raises a dozen types of its own
        raise ImageError("truncated_image", "The image file is cut short or damaged; send it whole.") from None


def _without_metadata(content: bytes) -> bytes:
    """Return a PNG reduced to the chunks in ``PIXEL_CHUNKS``; other files are returned as they are."""
    if not content.startswith(PNG_SIGNATURE):
        return content
    kept = [PNG_SIGNATURE]
    place = len(PNG_SIGNATURE)
    while place + CHUNK_HEADER_BYTES <= len(content):
        end = place + CHUNK_BYTES + int.from_bytes(content[place : place + 4])
        if content[place + 4 : place + CHUNK_HEADER_BYTES] in PIXEL_CHUNKS:
            kept.append(content[place:end])
        place = end
    return b"".join(kept)


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE_PIXELS:
        raise ImageError(
            "image_too_large",
            f"The image has {width}x{height} pixels, but at most {MAX_SIDE_PIXELS} on a side are read; "
            "make it smaller.",
        )


def _pixels(image: Image.Image) -> Image.Image:
    """Return the first frame that is not blank, or else the first one, upright in RGB."""
    first = _frame(image)
    # The other pictures of an MPO have sizes and scans of their own; they are not frames of an animation.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    frames = min(frames, MAX_FRAMES, 1 + MAX_FRAME_PIXELS // (image.width * image.height))
    if frames == 1 or not _is_flat(first):
        return first
    for number in range(1, frames):
        image.seek(number)
        found = _frame(image)
        if not _is_flat(found):
            return found
    return first


def _frame(image: Image.Image) -> Image.Image:
    image.load()
    # The upright copy no longer knows the file's format.
    return _over_white(ImageOps.exif_transpose(image), image.format)


def _has_colour(image: Image.Image) -> bool:
    if image.mode in GREY_MODES:
        return False
    red, green, blue = _pixels(image).split()
    differences = (ImageChops.difference(first, second) for first, second in ((red, green), (green, blue), (blue, red)))
    return any(np.asarray(difference).max() > MAX_GREY_DIFFERENCE_LEVELS for difference in differences)


def _is_flat(image: Image.Image) -> bool:
    """Return whether an RGB image has a single colour."""
    # getcolors(1) returns None for more than one.
    return image.getcolors(1) is not None


def _over_white(image: Image.Image, format: str | None) -> Image.Image:
    """Return the image as RGB on white, or on black if it would be blank on white."""
    # Pillow would clip 16-bit grey rather than scale it.
    if image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    # Programs that do not support alpha leave 0 in the fourth byte of a BMP's pixels.
    if format == "BMP" and layers.getchannel("A").getextrema() == (0, 0):
        return layers.convert("RGB")
    white, black = (
        Image.alpha_composite(Image.new("RGBA", layers.size, paper), layers).convert("RGB")
        for paper in ("white", "black")
    )
    return black if _is_flat(white) and not _is_flat(black) else white


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Return grey values of up to 16 bits as uint8, scaled from the smallest usual bit depth that holds them all."""
    bits = next(bits for bits in GREY_BITS if bits == GREY_BITS[-1] or grey.max() < 2**bits)
    return (grey >> (bits - 8)).astype(np.uint8)
