"""The labelled images of a unit, batch by batch, and what of it cannot be read."""

import math
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.preparation import prepare
from clustnet.errors import UserError
from evaluation.files.units import Unit
from evaluation.files.unread import Fault
from evaluation.sources.sources import BATCH

COLUMNS = ["image", "label"]
LARGEST_IMAGE_FILE = 64 * 2**20  # bytes; more is not read
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")  # a file of as many bytes as an image has pixels is still a file


class Row(NamedTuple):
    """One labelled image: uint8 of the bundle's input shape, and its fine class."""

    image: NDArray[np.uint8]
    label: int


@dataclass
class Batch:
    """Up to ``BATCH`` neighbouring images of a unit, less those that could not be read.

    Args:
        first: the place of the first of them among all images.
        rows: the images that were read.
        faults: the others.
    """

    first: int
    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class Reader:
    """Reads units for one model.

    Args:
        filesystem: where the files are.
        spec: the model's input.
        classes: the names of its fine classes, in the order of their indices.
    """

    def __init__(self, filesystem: fs.FileSystem, spec: InputSpec, classes: tuple[str, ...]) -> None:
        self._filesystem = filesystem
        self._spec = spec
        self._labels: dict[Any, int] = {name: index for index, name in enumerate(classes)}
        self._pixels = math.prod(spec.shape)

    def batches(self, unit: Unit) -> Iterator[Batch]:
        """Yield the unit's images in order; what cannot be read is a fault, never an exception."""
        if unit.row_group is None:
            return self._image_files(unit)
        return self._row_group(unit)

    def _image_files(self, unit: Unit) -> Iterator[Batch]:
        for start in range(0, len(unit.files), BATCH):
            batch = Batch(unit.first + start)
            for place, file in enumerate(unit.files[start : start + BATCH], batch.first):
                try:
                    batch.rows.append(self._image_file(file))
                except (UserError, OSError, pa.ArrowException) as error:
                    batch.faults.append(Fault(place, file, reason(error)))
            yield batch

    def _image_file(self, file: str) -> Row:
        """Read an image file; its class is its folder's name."""
        label = self._label(PurePosixPath(file).parent.name)
        with self._filesystem.open_input_file(file) as content:
            return Row(prepare(content.read(LARGEST_IMAGE_FILE), self._spec), label)

    def _row_group(self, unit: Unit) -> Iterator[Batch]:
        done = 0
        try:
            with self._filesystem.open_input_file(unit.files[0]) as content:
                for table in _tables(pq.ParquetFile(content), unit):
                    yield self._batch(unit, done, table)
                    done += len(table)
        except (UserError, OSError, pa.ArrowException) as error:
            where = f"{unit.files[0]}, rows {unit.row + done} to {unit.row + unit.images - 1}"
            yield Batch(unit.first + done, faults=[Fault(unit.first + done, where, reason(error))])

    def _batch(self, unit: Unit, done: int, table: pa.RecordBatch) -> Batch:
        batch = Batch(unit.first + done)
        images, labels = (table.column(name) for name in COLUMNS)
        if pa.types.is_struct(images.type):  # as the Hugging Face hub has it: {bytes, path}
            images = images.field("bytes")
        for row in range(len(table)):
            try:
                batch.rows.append(Row(self._image(images[row]), self._label(labels[row].as_py())))
            except UserError as error:
                where = f"{unit.files[0]}, row {unit.row + done + row}"
                batch.faults.append(Fault(batch.first + row, where, str(error)))
        return batch

    def _image(self, value: pa.Scalar) -> NDArray[np.uint8]:
        """Return an image from its pixels, as bytes or lists of numbers, or from the bytes of an image file."""
        if not value.is_valid:
            raise UserError("There is no image.")
        if isinstance(value, pa.ListScalar):  # large and fixed lists are such as well
            return self._shaped(_numbers(value.values))
        content = value.as_py()
        if not isinstance(content, bytes):
            raise UserError(f"The image is of type {value.type}; expected bytes or lists of whole numbers.")
        if len(content) != self._pixels or content.startswith(SIGNATURES):
            return prepare(content, self._spec)
        return self._shaped(np.frombuffer(content, np.uint8))

    def _shaped(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        if pixels.dtype.kind not in "iu" or pixels.size != self._pixels:
            expected = " x ".join(map(str, self._spec.shape))
            raise UserError(f"The image is {pixels.size} values of {pixels.dtype}; expected {expected} whole numbers.")
        if pixels.dtype != np.uint8 and not 0 <= pixels.min() <= pixels.max() <= 255:
            raise UserError(f"The image has values from {pixels.min()} to {pixels.max()}; expected 0 to 255.")
        return pixels.astype(np.uint8).reshape(self._spec.shape)

    def _label(self, value: Any) -> int:
        """Return a fine class from its name or index."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(self._labels):
            return value
        if isinstance(value, str) and value in self._labels:
            return self._labels[value]
        raise UserError(
            f"The label {reprlib.repr(value)} is no class of the model, which has {', '.join(self._labels)}."
        )


def reason(error: Exception) -> str:
    """Return why something could not be read, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _tables(file: pq.ParquetFile, unit: Unit) -> Iterator[pa.RecordBatch]:
    """Yield the unit's rows, ``BATCH`` at a time."""
    missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
    if missing:
        names = ", ".join(file.schema_arrow.names)
        raise UserError(f"There is no column {missing[0]!r}, but {names}; expected 'image' and 'label'.")
    left = unit.images
    for table in file.iter_batches(BATCH, row_groups=[unit.row_group], columns=COLUMNS):
        if left:
            yield table.slice(0, left)
        left -= min(left, len(table))


def _numbers(values: pa.Array) -> NDArray[Any]:
    while isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        values = values.flatten()
    found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found
