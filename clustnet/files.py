"""Files and folders that appear whole or not at all."""

import csv
import ctypes
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clustnet.errors import UserError

# Of Linux: "relative to the working folder", and "let the two change places".
AT_FDCWD, RENAME_EXCHANGE = -100, 2
# The name of a file that ``replacing`` has not finished.
UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_of(path: Path) -> tuple[int, ...] | None:
    """Return what changes with a file's content, None without the file; its content is not read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def check_writable(folder: Path, option: str = "--out") -> None:
    """Check, before long work, that files can be written into a folder; one that is missing stays missing.

    Args:
        folder: where the work will write.
        option: what names another folder, for the error.

    Raises:
        UserError: it cannot be written, or made.
    """
    there = next((place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)), folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        where = "" if there == folder else f", as {shown(there)} cannot"
        raise UserError(
            f"{shown(folder)} cannot be written{where} ({error.strerror}); name another folder by {option}."
        ) from None


def expanded(path: str | Path) -> Path:
    """Return a path with the user's home in the place of ~, which a shell leaves in quotes."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own fails where there is no home


def shown(name: str | Path) -> str:
    r"""Return a file's name as it is shown: bytes that are no UTF-8 are escaped, as in ``caf\xe9.png``."""
    try:
        return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        # No bytes of a name, but a text that no encoding has.
        return str(name).encode("utf-8", "backslashreplace").decode()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it over ``path`` on success.

    A failure inside the block leaves ``path`` as it was and removes the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # A file of mkstemp is private to its owner; results are not.
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV to ``path``, whole or not at all.

    The columns are those of all rows, in the order in which they first occur; what a row lacks stays empty. Texts are
    written as ``shown`` returns them.
    """
    columns = dict.fromkeys(key for row in rows for key in row)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: shown(value) if isinstance(value, str | Path) else value for key, value in row.items()}
            )


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` and put it in ``path``'s place on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``; a folder that is there changes places with it, or else steps aside.

    Where it steps aside, a kill between the two steps leaves it under another name, and nothing at ``path``.
    """
    if not path.exists():
        new.rename(path)
        return
    # The caller removes folders, not links.
    if not path.is_symlink() and _exchanged(new, path):
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old.")) / "old"
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """Let two folders change places in one step; return False where the system or the disk cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    done: int = renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE)
    return done == 0
