"""The pictures of a run: small JPEGs of image files, or of arrays where images have no files."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clustnet.bundles.decoding import MAX_SIDE_PIXELS, ImageError, decode
from clustnet.files import replacing
from training.discover.glance import content_of
from training.discover.sheets import jpeg

# Pixels of the longer side: in a sheet, and where one image is looked at.
SMALL, LARGE = 160, 800
JPEG_SIGNATURE = b"\xff\xd8"


class Pictures(Protocol):
    """The pictures of a run, by their places."""

    def jpeg(self, place: int, side: int) -> bytes:
        """Return a picture as JPEG, ``side`` pixels at most.

        Raises:
            OSError: it cannot be read any more.
        """

    def put(self, place: int, path: Path) -> Path:
        """Put the whole image at a path, which gets the right suffix, and return that.

        Raises:
            OSError: it cannot be read any more, or not written.
        """


class FilePictures:
    """Pictures of image files; small ones are kept in a folder, as photographs take long to decode.

    Args:
        files: the file of each image.
        kept: the folder of the small pictures.
    """

    def __init__(self, files: Sequence[Path], kept: Path) -> None:
        self.files, self.kept = files, kept

    def put(self, place: int, path: Path) -> Path:
        """Link or copy the file of an image to a path, which gets the file's suffix, and return that."""
        source = self.files[place].resolve()
        path = path.with_name(path.name + source.suffix)
        try:
            path.hardlink_to(source)
        except (OSError, NotImplementedError):
            # The folder is on another disk, or on one without hard links.
            shutil.copyfile(source, path)
        return path

    def jpeg(self, place: int, side: int) -> bytes:
        """Return a picture as JPEG, ``side`` pixels at most."""
        if side != SMALL:
            return _shrunk(content_of(self.files[place]), side)
        # A file that was replaced has another modification time.
        path = self.kept / f"{place}-{self.files[place].stat().st_mtime_ns:x}.jpg"
        if path.is_file():
            return path.read_bytes()
        made = _shrunk(content_of(self.files[place]), side)
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(made)
        except OSError:
            # The disk is full, or the run cannot be written.
            return made
        return made


class ArrayPictures:
    """Pictures of arrays.

    Args:
        images: the images of each split, uint8 [N, H, W] or [N, H, W, 3].
    """

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self.images = images
        self.starts = np.cumsum([0, *map(len, images)])

    def put(self, place: int, path: Path) -> Path:
        """Write an image as PNG to a path, which gets the suffix, and return that."""
        path = path.with_name(f"{path.name}.png")
        self._image(place).save(path)
        return path

    def _image(self, place: int) -> Image.Image:
        part = int(np.searchsorted(self.starts, place, "right")) - 1
        return Image.fromarray(self.images[part][place - self.starts[part]])

    def jpeg(self, place: int, side: int) -> bytes:
        """Return a picture as JPEG, enlarged where it is tiny."""
        image = self._image(place)
        factor = max(1, side // (2 * max(image.size)))
        return _jpeg(image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST))


def _shrunk(content: bytes, side: int) -> bytes:
    image = _drafted(content, side) if content.startswith(JPEG_SIGNATURE) else None
    if image is None:
        try:
            image = decode(content)
        except ImageError as error:
            raise OSError(0, str(error)) from None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _jpeg(image)


def _drafted(content: bytes, side: int) -> Image.Image | None:
    """Return a JPEG file decoded at a fraction of its size, upright; None where anything is unusual."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if max(image.size) > MAX_SIDE_PIXELS:
                return None
            image.draft("RGB", (2 * side, 2 * side))
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception:  # noqa: BLE001 - on damaged files Pillow raises a dozen types of its own
        return None


def _jpeg(image: Image.Image) -> bytes:
    return jpeg(image.convert("RGB" if image.mode not in ("L", "RGB") else image.mode))
