"""Files opened for reading, whatever their names: a local name may be bytes that are not UTF-8."""

import stat
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pyarrow import fs

from clustnet.errors import UserError


def opened(filesystem: fs.FileSystem, file: str) -> AbstractContextManager[Any]:
    """Return an open file.

    Raises:
        UserError: it is a link that leads nowhere, or not a regular file.
        OSError: it cannot be opened.
    """
    if not isinstance(filesystem, fs.LocalFileSystem):
        remote: AbstractContextManager[Any] = filesystem.open_input_file(file)
        return remote
    try:
        mode = Path(file).stat().st_mode
    except FileNotFoundError:
        if Path(file).is_symlink():
            raise UserError("The link leads to no file.") from None
        raise
    # Opening a pipe would wait for its other end.
    if not stat.S_ISREG(mode):
        raise UserError("It is not a regular file.")
    # Arrow takes only names in UTF-8.
    return Path(file).open("rb") if not _is_utf8(file) else filesystem.open_input_file(file)


def _is_utf8(name: str) -> bool:
    """Return whether a name is UTF-8; Python holds other bytes as surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
