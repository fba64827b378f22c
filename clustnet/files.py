"""Files and folders that appear whole or not at all."""

import csv
import ctypes
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from clustnet.errors import UserError

# Linux's "relative to the working folder", and "exchange the two".
AT_FDCWD, RENAME_EXCHANGE = -100, 2
# The suffix of temporary names, after a dot, the target's name and some random characters.
UNFINISHED = ".unfinished"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_of(path: Path) -> tuple[int, ...] | None:
    """Return a stamp that changes with a file's content, without reading it; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def check_writable(folder: Path, option: str = "--out") -> None:
    """Check, before long work, that files can be written into a folder; a missing folder is not created.

    Args:
        folder: where the work will write.
        option: the option that names another folder, for the error message.

    Raises:
        UserError: the folder cannot be written or created.
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
    """Return a path with ~ replaced by the user's home, as a shell does not do inside quotes."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own fails where there is no home


def shown(name: str | Path) -> str:
    r"""Return a file's name as it is shown: bytes that are not UTF-8 are escaped, as in ``caf\xe9.png``."""
    try:
        return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        # The text has lone surrogates that do not stand for the bytes of a name.
        return str(name).encode("utf-8", "backslashreplace").decode()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it over ``path`` on success.

    A failure inside the block leaves ``path`` as it was and removes the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    temporary = Path(name)
    try:
        _hold(handle)
        yield temporary
        # mkstemp makes files private to their owner, but results are for everybody.
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV to ``path``, whole or not at all.

    The columns are the keys of all rows, in the order in which they first occur; a missing value stays empty. Texts
    are written as ``shown`` returns them.
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
    """Yield an empty folder beside ``path`` and put it in the place of ``path`` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(path.parent)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED))
    handle = os.open(temporary, os.O_RDONLY)
    try:
        _hold(handle)
        yield temporary
        temporary.chmod(0o755)
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


def _hold(handle: int) -> bool:
    """Lock a file or folder while it is open; return False if another process has locked it, or locks do not work."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@lru_cache
def _remove_left_overs(folder: Path) -> None:
    """Remove what killed writers left in a folder, once per process; whatever is locked is still being written."""
    # mkstemp's names have eight random characters.
    for entry in folder.glob(f".*.????????{UNFINISHED}"):
        try:
            handle = os.open(entry, os.O_RDONLY)
        except OSError:
            # Its writer has finished, or it belongs to another user.
            continue
        if _hold(handle):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        os.close(handle)


def _swap(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``, exchanging it with a folder that is already there.

    If they cannot be exchanged, the old folder is renamed first; a kill between the two steps then leaves it under
    another name, and nothing at ``path``.
    """
    if not path.exists():
        new.rename(path)
        return
    # A link is not exchanged, because the caller removes folders only.
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
    """Exchange two folders in one step; return False if the system or the disk cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    done: int = renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE)
    return done == 0
