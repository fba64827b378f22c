"""Which files a pattern matches, and the units in which they are scored.

A unit is scored as a whole by one worker, in batches that begin at its first image: the last bit of an inference may
depend on its batch, so the batches must not depend on how many workers there are or on who is done first.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from clustnet.datasets.folder_layout import SYSTEM_NAMES
from clustnet.errors import UserError
from clustnet.files import expanded, shown
from evaluation.files.opening import opened
from evaluation.files.patterns import PARQUET, WILD
from evaluation.files.unread import Fault, UnreadImages
from evaluation.sources.sources import BATCH

# For image files; a unit of Parquet is a row group.
IMAGES_PER_UNIT = 4 * BATCH
# On object storage, reading a footer is nearly all waiting.
FOOTERS_AT_ONCE = 16
# The columns that are read.
IMAGE, LABEL, COARSE = "image", "label", "coarse"
# The limit for a row group's columns in memory, as Arrow reads each of them as a whole.
MAX_ROW_GROUP_BYTES = 2**30
# The size of a number in memory, for types that Parquet stores in more bytes.
SMALL_BYTES = {"INT_8": 1, "UINT_8": 1, "INT_16": 2, "UINT_16": 2}
PHYSICAL_BYTES = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}


@dataclass(frozen=True)
class Unit:
    """Images that are scored together.

    Args:
        files: one Parquet file, or the image files.
        first: the place of the first image among all that are evaluated.
        images: how many there are; in a row group, the first ones.
        row_group: the row group of the Parquet file; None for image files.
        row: the row of the row group's first image in its file.
        folders: how many folders above each image file the pattern has from its first wildcard on.
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
        units: the units, in the order of their images.
        unread: the Parquet files whose footer cannot be read, and row groups that are too large.
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
    """Return the files that match a pattern, sorted by name and split into units; ``.parquet`` files are Parquet.

    Args:
        pattern: a path or an address such as ``s3://bucket/digits/*.parquet``, in which ``*``, ``?`` and ``[...]``
            stand for anything within one part of the path; ~ is the user's home.

    Raises:
        UserError: no file matches, or the place cannot be reached.
    """
    filesystem, files, folders = _matching(pattern)
    if not files:
        raise UserError(
            f"No files match {pattern!r}; check the pattern, and quote it so that the shell does not expand it."
        )
    units: list[Unit] = []
    faults: list[Fault] = []
    first = 0
    for parquet, group in groupby(files, lambda file: PurePosixPath(file).suffix.lower() == PARQUET):
        some = list(group)
        if parquet:
            first = _add_row_groups(units, faults, filesystem, some, first)
        else:
            units += _image_units(some, first, folders)
            first += len(some)
    return Listing(filesystem, units, UnreadImages.of(faults))


def _image_units(files: list[str], first: int, folders: int) -> Iterator[Unit]:
    """Yield units of image files, the first of which has the place ``first`` among all images."""
    for start in range(0, len(files), IMAGES_PER_UNIT):
        some = tuple(files[start : start + IMAGES_PER_UNIT])
        yield Unit(some, first + start, len(some), folders=folders)


class _RowGroup(NamedTuple):
    """How many rows a row group has, and how many bytes of memory its columns take at least."""

    rows: int
    size: int


class _Footer(NamedTuple):
    """The row groups of a Parquet file, or why they are not known."""

    file: str
    groups: list[_RowGroup]
    fault: str | None = None


def _add_row_groups(
    units: list[Unit], faults: list[Fault], filesystem: fs.FileSystem, files: list[str], first: int
) -> int:
    """Add the row groups of Parquet files, whose images begin at the place ``first``, and return the next place."""
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        for footer in pool.map(lambda file: _footer(filesystem, file), files):
            if footer.fault is not None:
                faults.append(Fault(first, footer.file, "", footer.fault))
            row = 0
            for group, (rows, size) in enumerate(footer.groups):
                if size > MAX_ROW_GROUP_BYTES:
                    faults.append(Fault(first, footer.file, f"{row} to {row + rows - 1}", _too_large(size)))
                elif rows:
                    units.append(Unit((footer.file,), first, rows, group, row))
                first, row = first + rows, row + rows
    return first


def _footer(filesystem: fs.FileSystem, file: str) -> _Footer:
    """Return the footer of a Parquet file, or why it cannot be read."""
    try:
        with opened(filesystem, file) as content:
            metadata = pq.ParquetFile(content).metadata
            groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
            return _Footer(file, [_RowGroup(group.num_rows, _size(group, metadata.schema)) for group in groups])
    except Exception as error:  # noqa: BLE001 - on odd files Arrow raises a dozen types
        return _Footer(file, [], first_line(error))


def _size(group: Any, schema: Any) -> int:
    """Return how many bytes of memory the columns to read take in a row group, as far as its footer tells."""
    total = 0
    for index in range(group.num_columns):
        chunk, column = group.column(index), schema.column(index)
        if chunk.path_in_schema.partition(".")[0] not in (IMAGE, LABEL, COARSE):
            continue
        # A file may hold equal numbers once, with their count.
        width = SMALL_BYTES.get(column.converted_type) or PHYSICAL_BYTES.get(column.physical_type, column.length)
        total += max(chunk.total_uncompressed_size, chunk.num_values * max(width, 0))
    return total


def _too_large(size: int) -> str:
    """Return why a row group is not read."""
    return (
        f"The row group takes {size / 2**30:.1f} GiB of memory, and at most {MAX_ROW_GROUP_BYTES / 2**30:g} GiB are "
        "read; write smaller row groups, for example with row_group_size."
    )


def _matching(pattern: str) -> tuple[fs.FileSystem, list[str], int]:
    """Return the file system, the sorted paths of the matching files on it, and the ``Unit.folders`` of these."""
    parts = pattern.split("/")
    fixed = next((place for place, part in enumerate(parts) if WILD & set(part)), len(parts) - 1)
    base, rest = "/".join(parts[:fixed]) or pattern[: pattern.startswith("/")], parts[fixed:]
    try:
        filesystem, root = _opened(base)
        if isinstance(filesystem, fs.LocalFileSystem):
            return filesystem, sorted(_local_files(root, rest)), len(rest) - 1
        selector = fs.FileSelector(root, allow_not_found=True, recursive=len(rest) > 1)
        found = [info.path for info in filesystem.get_file_info(selector) if info.type != fs.FileType.Directory]
    except (OSError, pa.ArrowException) as error:
        reason = shown(first_line(error))
        raise UserError(f"The files {pattern!r} cannot be listed ({reason}); check the address.") from None
    depth = len(PurePosixPath(root).parts)
    return filesystem, sorted(path for path in found if _fits(PurePosixPath(path).parts[depth:], rest)), len(rest) - 1


def _local_files(folder: str, patterns: list[str]) -> Iterator[str]:
    """Yield the local files whose path below a folder fits the patterns, and links that lead nowhere.

    Arrow lists neither such links nor a folder in which a name is not UTF-8.
    """
    try:
        entries = list(os.scandir(folder or "/"))
    except FileNotFoundError:
        return
    for entry in entries:
        if not _fits((entry.name,), patterns[:1]):
            continue
        path = f"{folder.rstrip('/')}/{entry.name}"
        # A link to a folder counts as one.
        if not entry.is_dir():
            if len(patterns) == 1 or (entry.is_symlink() and not Path(path).exists()):
                yield path
        elif len(patterns) > 1:
            yield from _local_files(path, patterns[1:])


def _opened(base: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or an address, and the path on it."""
    if "://" in base:
        filesystem, root = fs.FileSystem.from_uri(base)
        return filesystem, root
    # Workers may have another working directory.
    return fs.LocalFileSystem(), str(expanded(base).absolute())


def _fits(names: tuple[str, ...], patterns: list[str]) -> bool:
    """Return whether each part of a path fits its pattern; ``*`` matches no hidden file and no system file."""
    return len(names) == len(patterns) and all(
        fnmatchcase(name, pattern)
        and (not name.startswith(".") or pattern.startswith("."))
        and (name.lower() not in SYSTEM_NAMES or name == pattern)
        for name, pattern in zip(names, patterns, strict=True)
    )


def first_line(error: Exception) -> str:
    """Return why something failed, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
