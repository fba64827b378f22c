"""The images that IMAGES names: files of a folder, or rows of a table, each with its split and coarse label."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from clustnet.bundles.groups import ALL
from clustnet.datasets.folder_layout import REFERENCE, TEST, TRAIN, is_hidden
from clustnet.errors import UserError
from training.discover.arguments import Columns

CSV, PARQUET, NUMPY = ".csv", ".parquet", ".npy"
ROWS = 256


class Entry(NamedTuple):
    """An image as IMAGES names it.

    Args:
        name: how a person knows it: its path in the folder or the table, or ``TABLE:ROW``.
        split: ``train`` or ``test``.
        label: the coarse label; empty where there is none.
        place: its path in the run, below ``SPLIT/LABEL/``.
        path: its file; for bytes in a table, the table's file.
        content: its bytes in a table; None for a file.
    """

    name: str
    split: str
    label: str
    place: str
    path: Path
    content: bytes | None = None


def entries(images: Path, columns: Columns) -> Iterator[Entry]:
    """Yield the images of a folder or a table, always in the same order.

    Raises:
        UserError: there is no such folder or table, or the table lacks a column.
    """
    if images.is_dir():
        return _folder_entries(images)
    if not images.is_file():
        raise UserError(f"There is no folder or file {images}; name one with images.")
    if images.suffix.lower() == CSV:
        return _csv_entries(images, columns)
    if images.suffix.lower() == PARQUET:
        return _parquet_entries(images, columns)
    raise UserError(f"{images} is neither a folder nor a {CSV}, {PARQUET} or {NUMPY} file; name one of these.")


def _folder_entries(folder: Path) -> Iterator[Entry]:
    """Yield the files below a folder; the first folder below a split is the coarse label."""
    seen: set[Path] = set()
    for split, root in _splits(folder):
        inner = [entry for entry in _visible(root) if not (root == folder and entry.name in (TEST, REFERENCE))]
        divided = any(entry.is_dir() for entry in inner)
        for entry in inner:
            label = entry.name if entry.is_dir() else "" if divided else ALL
            base = entry if entry.is_dir() else root
            for path in _files(entry, seen):
                place = path.relative_to(base).as_posix()
                yield Entry(path.relative_to(folder).as_posix(), split, label, place, path)


def _splits(folder: Path) -> list[tuple[str, Path]]:
    """Return the folders of the splits."""
    if (folder / TRAIN).is_dir():
        return [(split, folder / split) for split in (TRAIN, TEST) if (folder / split).is_dir()]
    # ``test`` may also lie beside the folders of the coarse labels.
    others = [entry for entry in _visible(folder) if entry.name not in (TEST, REFERENCE)]
    if others and (folder / TEST).is_dir():
        return [(TRAIN, folder), (TEST, folder / TEST)]
    return [(TRAIN, folder)]


def _files(entry: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield a file itself, or the files below a folder, sorted; a folder that is linked to twice is read once."""
    if not entry.is_dir():
        yield entry
        return
    resolved = entry.resolve()
    if resolved not in seen:
        seen.add(resolved)
        for inner in _visible(entry):
            yield from _files(inner, seen)


def _visible(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted, without hidden and system files; none if it cannot be read."""
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    return [entry for entry in found if not is_hidden(entry.name)]


def _csv_entries(table: Path, columns: Columns) -> Iterator[Entry]:
    """Yield the rows of a CSV file."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        _check_columns(table, list(reader.fieldnames or ()), columns.file)
        has_label = columns.label in (reader.fieldnames or ())
        for number, row in enumerate(reader):
            label = (row[columns.label] or "") if has_label else ALL
            yield _row_entry(table, number, row[columns.file] or "", label, row.get(columns.split))


def _parquet_entries(table: Path, columns: Columns) -> Iterator[Entry]:
    """Yield the rows of a Parquet file, whose images are files beside it or bytes in it."""
    file = pq.ParquetFile(table)
    names = file.schema_arrow.names
    image = columns.image if columns.image in names else columns.file
    _check_columns(table, names, image)
    classes = label_names(file.schema_arrow, columns.label)
    kept = [name for name in (image, columns.label, columns.split) if name in names]
    number = 0
    for batch in file.iter_batches(ROWS, columns=kept):
        for row in batch.to_pylist():
            label = label_text(row[columns.label], classes) if columns.label in row else ALL
            yield _image_entry(table, number, row[image], label, row.get(columns.split))
            number += 1


def _image_entry(table: Path, number: int, value: Any, label: str, split: Any) -> Entry:
    """Return the entry for a value in a table: a path, bytes, or ``{bytes, path}`` as Hugging Face writes it."""
    if isinstance(value, dict):
        name, value = str(value.get("path") or ""), value.get("bytes") or value.get("path")
    else:
        name = ""
    if not isinstance(value, bytes):
        return _row_entry(table, number, str(value or ""), label, split)
    title = f"{table.name}:{number}" + (f":{name}" if name else "")
    place = f"{number:07}_{Path(name).name or 'image'}"
    return Entry(title, split_of(split), label, place, table, value)


def _row_entry(table: Path, number: int, file: str, label: str, split: Any) -> Entry:
    """Return the entry for a row that names a file."""
    place = f"{number:07}_{Path(file).name or 'none'}"
    return Entry(file or f"{table.name}:{number}", split_of(split), label, place, table.parent / file)


def split_of(value: Any) -> str:
    """Return ``train`` or ``test`` for a value in a table; every value that does not mean test is for training."""
    return TEST if str(value or "").lower() in (TEST, "validation", "valid", "val") else TRAIN


def _check_columns(table: Path, names: list[str], needed: str) -> None:
    if needed not in names:
        raise UserError(
            f"{table} has no column {needed!r}, but {', '.join(names) or 'none'}; name the column of the files with "
            "--file-column or that of the images with --image-column."
        )


def label_names(schema: pa.Schema, column: str) -> list[str]:
    """Return the names of numbered labels that Hugging Face keeps in a schema; empty if there are none."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in info["info"]["features"][column]["names"]]
    except (KeyError, ValueError, TypeError):
        return []


def label_text(value: Any, classes: list[str]) -> str:
    """Return the name of a label; empty if there is none."""
    if value is None:
        return ""
    if isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    return str(value)
