"""Embeddings instead of images: an array or a table of them, with labels."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clustnet.bundles.groups import ALL
from clustnet.encoders.encoder import unit
from clustnet.errors import UserError
from training.discover.arguments import Arguments, Columns
from training.discover.glance import Glance
from training.discover.reading import Image, Problem, sorted_out, write_lists
from training.discover.sources import CSV, NUMPY, PARQUET, Entry, label_names, label_text
from training.discover.sources import split_of as named_split


class Embedded(NamedTuple):
    """Embeddings with their labels.

    Args:
        rows: float32 [N, D].
        labels: N coarse labels.
        splits: N splits, each ``train`` or ``test``.
        names: N names, each a file or ``FILE:ROW``.
    """

    rows: NDArray[np.float32]
    labels: list[str]
    splits: list[str]
    names: list[str]

    def hashes(self) -> list[str]:
        """Return the SHA-256 of each row."""
        return [hashlib.sha256(row.tobytes()).hexdigest() for row in self.rows]

    def places(self, names: Sequence[str]) -> list[int]:
        """Return the indices of the rows with these names."""
        place = {name: number for number, name in enumerate(self.names)}
        return [place[name] for name in names]

    def unit_rows(self, places: list[int]) -> NDArray[np.float32]:
        """Return the rows at M indices, scaled to length 1, float32 [M, D]."""
        return unit(self.rows[places])


def holds_embeddings(arguments: Arguments) -> bool:
    """Return whether IMAGES holds embeddings instead of images."""
    path = arguments.images
    if path.suffix.lower() == NUMPY:
        return True
    if path.suffix.lower() != PARQUET or not path.is_file():
        return False
    return arguments.columns.embedding in pq.ParquetFile(path).schema_arrow.names


def load_embedded(arguments: Arguments) -> Embedded:
    """Return the embeddings.

    Raises:
        UserError: the file does not hold rows of numbers, or there is not one label per row.
    """
    path = arguments.images
    found = _array(arguments) if path.suffix.lower() == NUMPY else _table(path, arguments.columns)
    if found.rows.ndim != 2 or found.rows.dtype.kind not in "fiu" or not found.rows.size:
        raise UserError(
            f"{path} must hold one row of numbers per image, but holds {found.rows.dtype} {found.rows.shape}."
        )
    if len(found.labels) != len(found.rows):
        raise UserError(
            f"{path} has {len(found.rows):,} rows, but there are {len(found.labels):,} labels; give as many."
        )
    return found._replace(rows=found.rows.astype(np.float32))


def _array(arguments: Arguments) -> Embedded:
    try:
        rows = np.load(arguments.images, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{arguments.images} is not an array of numbers ({error}); write it with numpy.save.") from None
    count = len(rows) if rows.ndim else 0
    labels = [ALL] * count if arguments.labels is None else _labels(arguments.labels, arguments.columns)
    return Embedded(rows, labels, ["train"] * count, [f"{arguments.images.name}:{number}" for number in range(count)])


def _labels(path: Path, columns: Columns) -> list[str]:
    """Return the labels in an array, or in a column of a CSV file."""
    try:
        if path.suffix.lower() != CSV:
            return [str(label) for label in np.load(path, allow_pickle=False).tolist()]
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [row[columns.label] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The labels {path} cannot be read ({error}); give a {NUMPY} or {CSV} file.") from None


def _table(path: Path, columns: Columns) -> Embedded:
    table = pq.read_table(path)
    names, count = table.schema.names, len(table)
    classes = label_names(table.schema, columns.label)
    try:
        rows = np.array(table[columns.embedding].to_pylist(), np.float32)
    except (ValueError, TypeError):
        raise UserError(f"{path} has embeddings of different lengths; give each the same number of values.") from None
    labels = (
        [label_text(value, classes) for value in table[columns.label].to_pylist()] if columns.label in names else []
    )
    splits = table[columns.split].to_pylist() if columns.split in names else [None] * count
    files = table[columns.file].to_pylist() if columns.file in names else range(count)
    titles = [file if isinstance(file, str) else f"{path.name}:{number}" for number, file in enumerate(files)]
    return Embedded(rows, labels or [ALL] * count, [named_split(split) for split in splits], titles)


def read_embedded(found: Embedded, run: Path, source: Path) -> list[Problem]:
    """Write the lists of used and left-out rows of a run on embeddings; return the problems.

    Raises:
        UserError: no row is left, or the name of a coarse label cannot be used.
    """
    fields = zip(found.names, found.splits, found.labels, strict=True)
    listed = [
        (Entry(name, split, label, str(place), source), Glance(_fault(row), digest))
        for place, ((name, split, label), row, digest) in enumerate(
            zip(fields, found.rows, found.hashes(), strict=True)
        )
    ]
    used, problems = sorted_out(listed)
    images = [Image(entry.name, "", entry.split, entry.label, seen.sha256, 0, 0, 0) for entry, seen in used]
    write_lists(run, images, problems)
    return problems


def _fault(row: NDArray[np.float32]) -> str:
    if not np.isfinite(row).all():
        return "has numbers that are not finite"
    return "" if row.any() else "is all zeros"
