"""Reading of users' ``.npz`` archives of plain arrays, without executing anything in them."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clustnet.errors import UserError


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz``, by name.

    Raises:
        UserError: the file is missing, damaged or of another format, or has an array of Python objects, which would
            need pickle.
    """
    if not path.is_file():
        raise UserError(f"The file {path} is missing; name an .npz.")
    try:
        # np.load would also open a bare .npy or a pickle.
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not a zip archive")
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as an .npz of plain arrays ({error}); get it again.") from None


def whole_numbers(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return an array of whole numbers, flattened, as int64.

    Args:
        path: the file of the array, for the error message.
        name: what the array holds, for the error message.
        values: an array of any shape.

    Raises:
        UserError: the values are not whole numbers.
    """
    if values.dtype.kind not in "iu":
        raise UserError(f"{path} holds {name} of type {values.dtype}; expected whole numbers.")
    return values.reshape(-1).astype(np.int64)


def decode_jpegs(
    path: Path, arrays: Mapping[str, NDArray[Any]], chosen: NDArray[np.int64], side: int | None = None
) -> list[NDArray[np.uint8]]:
    """Return images that are stored end to end as JPEG, each uint8 [H, W, 3].

    Args:
        path: the file, for the error message.
        arrays: ``jpeg``, the bytes, and ``offset``, where each image begins and the last one ends.
        chosen: int64 [M] indices of the images to return.
        side: the height and width that all must have; None for any.

    Raises:
        UserError: an image cannot be decoded or has another size.
    """
    jpeg, offset = arrays["jpeg"], whole_numbers(path, "offsets", arrays["offset"])
    try:
        images = [decode_rgb(io.BytesIO(jpeg[offset[i] : offset[i + 1]].tobytes())) for i in chosen]
    except (UnidentifiedImageError, OSError, IndexError):
        raise UserError(f"{path} holds an image that cannot be decoded; get the file again.") from None
    if side is not None and any(image.shape != (side, side, 3) for image in images):
        raise UserError(f"{path} holds an image that is not {side}x{side}, but all must be; get the file again.")
    return images


def decode_rgb(source: Path | io.BytesIO) -> NDArray[np.uint8]:
    """Return an image, uint8 [H, W, 3]; a grey one has three equal channels."""
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))
