"""Reading ``.npz`` archives of plain arrays from users: nothing in them is executed."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` by their names.

    Raises:
        UserError: missing, damaged, another format, or an array of Python objects (which would need pickle).
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
    """Return an array of whole numbers, flat, int64.

    Args:
        path: its file, for the message.
        name: what it holds, for the message.
        values: of any shape.

    Raises:
        UserError: not whole numbers.
    """
    if values.dtype.kind not in "iu":
        raise UserError(f"{path} holds {name} of type {values.dtype}; expected whole numbers.")
    return values.reshape(-1).astype(np.int64)
