"""A first look at an image file: whether it can be read, its size, whether it has colour, and a tiny thumbnail."""

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageOps

from clustnet.bundles.decoding import MAX_GREY_DIFFERENCE_LEVELS, MAX_SIDE_PIXELS, ImageError, decode
from clustnet.datasets.folder import MAX_FILE_BYTES

THUMBNAIL_SIDE = 16
# Longer side, in pixels, at which colour is looked for; JPEG files are decoded at a fraction of their size for it.
LOOK_SIDE = 128
JPEG_SIGNATURE = b"\xff\xd8"
# The EXIF tag, and the value from which on width and height are swapped.
ORIENTATION, TURNED = 0x0112, 5
PROBLEMS = {
    "not_an_image": "is not a PNG, JPEG, WebP or BMP image",
    "truncated_image": "is cut short or damaged",
    "image_too_large": f"has over {MAX_SIDE_PIXELS} pixels a side",
}


class Glance(NamedTuple):
    """What was seen of a file.

    Args:
        problem: why the file cannot be used; empty if it can.
        sha256: SHA-256 of its content.
        width: width of the upright image in pixels.
        height: height of the upright image in pixels.
        colour: whether the image has colour.
        thumbnail: grey thumbnail, 16 x 16 bytes.
    """

    problem: str
    sha256: str = ""
    width: int = 0
    height: int = 0
    colour: bool = False
    thumbnail: bytes = b""


def content_of(path: Path) -> bytes:
    """Return the bytes of an image file, at most one more than the limit.

    Raises:
        OSError: the file cannot be read.
    """
    # A pipe would never end.
    if path.exists() and not path.is_file():
        raise OSError(0, "it is not a file")
    with path.open("rb") as stream:
        return stream.read(MAX_FILE_BYTES + 1)


def glance(path: Path) -> Glance:
    """Return what is seen of an image file; whatever is wrong with it is reported as a problem, never raised."""
    try:
        content = content_of(path)
    except (OSError, ValueError) as error:
        return Glance(f"cannot be read ({getattr(error, 'strerror', None) or error})")
    if not content:
        return Glance("is empty")
    if len(content) > MAX_FILE_BYTES:
        return Glance(f"is larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        return _look(content)
    except ImageError as error:
        return Glance(PROBLEMS.get(error.reason, str(error)))


def _look(content: bytes) -> Glance:
    found = _quickly(content) if content.startswith(JPEG_SIGNATURE) else None
    if found is None:
        image = decode(content)
        found = image, image.size
    small, size = found
    small.thumbnail((LOOK_SIDE, LOOK_SIDE), Image.Resampling.BOX)
    grey = small.convert("L").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return Glance("", hashlib.sha256(content).hexdigest(), *size, _has_colour(small), grey.tobytes())


def _quickly(content: bytes) -> tuple[Image.Image, tuple[int, int]] | None:
    """Return a JPEG file decoded at a fraction of its size, and its full size; None if anything is unusual."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if max(image.size) > MAX_SIDE_PIXELS:
                return None
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) >= TURNED
            image.draft("RGB", (LOOK_SIDE, LOOK_SIDE))
            image.load()
            small = ImageOps.exif_transpose(image).convert("RGB")
    except Exception:  # noqa: BLE001 - on damaged files Pillow raises a dozen types of its own
        return None
    return small, (height, width) if turned else (width, height)


def _has_colour(image: Image.Image) -> bool:
    red, green, blue = image.split()
    pairs = ((red, green), (green, blue), (blue, red))
    largest = max(int(np.asarray(ImageChops.difference(*pair)).max()) for pair in pairs)
    return largest > MAX_GREY_DIFFERENCE_LEVELS


def stamp(path: Path) -> tuple[int, int]:
    """Return a file's modification time in ns and size in bytes, to notice changes; zeros if there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return status.st_mtime_ns, status.st_size
