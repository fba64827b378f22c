"""Which files a pattern matches, and the units in which they are scored.

A unit is scored as a whole by one worker, in batches that begin at its first image: the last bit of an inference may
depend on its batch, so the batches must not depend on how many workers there are or on who is done first.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from clustnet.errors import UserError
from evaluation.files.patterns import PARQUET
from evaluation.files.unread import Fault, UnreadImages
from evaluation.sources.sources import BATCH

# Of image files; a unit of Parquet is a row group.
IMAGES_PER_UNIT = 4 * BATCH
# On object storage nearly all of the time of each is waiting.
FOOTERS_AT_ONCE = 16
WILD = frozenset("*?[")


@dataclass(frozen=True)
class Unit:
    """Images that are scored together.

    Args:
        files: one Parquet file, or the image files.
        first: the place of the first image among all that are evaluated.
        images: how many there are; of a row group the first so many.
        row_group: of the Parquet file; None for image files.
        row: of the row group's first image in its file.
        folders: of image files, how many of the folders above each are wildcards of the pattern.
    """

    files: tuple[str, ...]
    first: int
    images: int
    row_group: int | None = None
    row: int = 0
    folders: int = 0


@dataclass(frozen=True)
class Listing:
    """What a pattern matches.

    Args:
        filesystem: where the files are.
        units: in the order of their images.
        unread: the Parquet files whose footer cannot be read.
    """

    filesystem: fs.FileSystem
    units: list[Unit]
    unread: UnreadImages

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(unit.images for unit in self.units)

    def first(self, count: int | None) -> "Listing":
        """Return the listing of the first ``count`` images (all of them for None)."""
        if count is None:
            return self
        kept = [replace(unit, images=min(unit.images, count - unit.first)) for unit in self.units if unit.first < count]
        return replace(self, units=[replace(unit, files=unit.files[: unit.images]) for unit in kept])


def list_units(pattern: str) -> Listing:
    """Return the files of a pattern, in the order of their names, in units.

    Args:
        pattern: a path or an address such as ``s3://bucket/digits/*.parquet``, in which ``*``, ``?`` and ``[...]``
            stand for anything within one part of the path; its ending says what the files are.

    Raises:
        UserError: no such files, or a place that cannot be reached.
    """
    filesystem, files, folders = _matching(pattern)
    if not files:
        raise UserError(
            f"No files match {pattern!r}; check the pattern, and put it in quotes so that no shell expands it."
        )
    if PurePosixPath(pattern).suffix.lower() != PARQUET:
        return Listing(filesystem, list(_image_units(files, folders)), UnreadImages())
    return _row_groups(filesystem, files)


def _image_units(files: list[str], folders: int) -> Iterator[Unit]:
    """Yield units of image files."""
    for first in range(0, len(files), IMAGES_PER_UNIT):
        some = tuple(files[first : first + IMAGES_PER_UNIT])
        yield Unit(some, first, len(some), folders=folders)


class _Footer(NamedTuple):
    """The rows of each row group of a Parquet file, or why they are not known."""

    file: str
    rows: list[int]
    fault: str | None = None


def _row_groups(filesystem: fs.FileSystem, files: list[str]) -> Listing:
    """Return the row groups of Parquet files as units."""
    units: list[Unit] = []
    faults: list[Fault] = []
    first = 0
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        for footer in pool.map(lambda file: _footer(filesystem, file), files):
            if footer.fault is not None:
                faults.append(Fault(first, footer.file, "", footer.fault))
            row = 0
            for group, rows in enumerate(footer.rows):
                if rows:
                    units.append(Unit((footer.file,), first, rows, group, row))
                first, row = first + rows, row + rows
    return Listing(filesystem, units, UnreadImages.of(faults))


def _footer(filesystem: fs.FileSystem, file: str) -> _Footer:
    """Return the footer of a Parquet file, or why it cannot be read."""
    try:
        with filesystem.open_input_file(file) as content:
            metadata = pq.ParquetFile(content).metadata
            return _Footer(file, [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)])
    except (OSError, pa.ArrowException) as error:
        return _Footer(file, [], first_line(error))


def _matching(pattern: str) -> tuple[fs.FileSystem, list[str], int]:
    """Return the file system, the files' paths on it, sorted, and how many folders above each are wildcards."""
    parts = pattern.split("/")
    fixed = next((place for place, part in enumerate(parts) if WILD & set(part)), len(parts) - 1)
    base, rest = "/".join(parts[:fixed]) or pattern[: pattern.startswith("/")], parts[fixed:]
    try:
        filesystem, root = _opened(base)
        selector = fs.FileSelector(root, allow_not_found=True, recursive=len(rest) > 1)
        found = [info.path for info in filesystem.get_file_info(selector) if info.type != fs.FileType.Directory]
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The files {pattern!r} cannot be listed ({first_line(error)}); check the address.") from None
    depth = len(PurePosixPath(root).parts)
    return filesystem, sorted(path for path in found if _fits(PurePosixPath(path).parts[depth:], rest)), len(rest) - 1


def _opened(base: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or an address, and the path on it."""
    if "://" in base:
        filesystem, root = fs.FileSystem.from_uri(base)
        return filesystem, root
    # Workers may have another working directory.
    return fs.LocalFileSystem(), str(Path(base).absolute())


def _fits(names: tuple[str, ...], patterns: list[str]) -> bool:
    """Return whether each part of a path fits its pattern; as in a shell ``*`` is no hidden file."""
    return len(names) == len(patterns) and all(
        fnmatchcase(name, pattern) and (not name.startswith(".") or pattern.startswith("."))
        for name, pattern in zip(names, patterns, strict=True)
    )


def first_line(error: Exception) -> str:
    """Return why something failed, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
