"""The images of a unit with their truth, batch by batch, and what could not be read."""

import math
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from clustnet.bundles.groups import UNKNOWN
from clustnet.bundles.pixels import unit_scale_fault
from clustnet.bundles.preparation import prepare
from clustnet.datasets.folder import MAX_FILE_BYTES
from clustnet.datasets.folder_layout import FolderNames
from clustnet.errors import UserError
from clustnet.files import shown
from evaluation.files.opening import opened
from evaluation.files.units import COARSE, IMAGE, LABEL, Unit, first_line
from evaluation.files.unread import Fault
from evaluation.sources.sources import BATCH, ModelInfo

# An image file may have as many bytes as an image has pixels; it is known by its signature.
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")


class Truth(NamedTuple):
    """The true coarse label and class of an image, ``UNKNOWN`` where they are not known."""

    coarse: int = UNKNOWN
    fine: int = UNKNOWN


class Row(NamedTuple):
    """An image, uint8 of the bundle's input shape, and its truth."""

    image: NDArray[np.uint8]
    truth: Truth


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


class TruthNames:
    """The coarse labels and classes of a model, which folders and columns name.

    Args:
        names: what they may be called.
    """

    def __init__(self, names: FolderNames) -> None:
        self._names = names
        # A single label without a name of its own is no folder.
        self._labels = set(names.coarse_labels) & set(names.folders())

    def of_folders(self, folders: Sequence[str], wild: int) -> Truth:
        """Return what the folders above an image file say.

        The folders from the pattern's first wildcard on are tried first, then the innermost folder, then the innermost
        two.

        Args:
            folders: the outermost first.
            wild: how many folders there are from the pattern's first wildcard on; if any, they must name something.

        Raises:
            UserError: they must name something, but name neither a coarse label nor a class.
        """
        for some in (folders[len(folders) - wild :], folders[-1:], folders[-2:]):
            found = Truth(*self._names.labels_of(tuple(some)))
            if found.fine != UNKNOWN or set(some[:1]) & self._labels:
                return found
        # A model without any names expects nothing of folders.
        if wild and self._names.folders():
            raise self._unknown(f"folder '{shown(folders[-1])}'")
        return Truth()

    def of_columns(self, label: Any, coarse: Any) -> Truth:
        """Return what the columns ``label`` and ``coarse`` of a row say, None for what is missing.

        A label is the name or index of a class, or the name of a coarse label. Where the model's classes have no names,
        an index is that of a coarse label.

        Raises:
            UserError: one of them names nothing that the model knows.
        """
        labels, classes = self._names.coarse_labels, self._names.classes
        if not self._names.folders():
            return Truth()
        if label is None:
            return Truth() if coarse is None else Truth(self._index(coarse, labels, COARSE))
        if not classes or (label in labels and label not in classes):
            return Truth(self._index(label, labels, LABEL))
        return Truth(fine=self._index(label, classes, LABEL))

    def _index(self, value: Any, names: Sequence[str], column: str) -> int:
        """Return the index of a name, or a value that is an index itself."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
            return value
        if isinstance(value, str) and value in names:
            return names.index(value)
        raise self._unknown(f"{column} {reprlib.repr(value)}")

    def _unknown(self, what: str) -> UserError:
        """Return the error for a folder or a value that names nothing."""
        known = ", ".join(self._names.folders())
        kinds = [kind for kind, there in (("coarse label", self._labels), ("class", self._names.classes)) if there]
        return UserError(f"The {what} is not a {' or '.join(kinds)} of the model, which has {known}.")


class Reader:
    """Reads units for one model.

    Args:
        filesystem: where the files are.
        info: what the model reads and answers.
        truth: whether the columns of Parquet files say what is true of an image; folders always do.
    """

    def __init__(self, filesystem: fs.FileSystem, info: ModelInfo, truth: bool = True) -> None:
        self._filesystem, self._truth = filesystem, truth
        self._spec = info.input
        self._names = TruthNames(info.folder_names)
        self._pixels = math.prod(info.input.shape)

    def batches(self, unit: Unit) -> Iterator[Batch]:
        """Yield the unit's images in order; what cannot be read is a fault, never an exception."""
        if unit.row_group is None:
            return self._image_files(unit)
        return self._row_group(unit)

    def _image_files(self, unit: Unit) -> Iterator[Batch]:
        """Yield the images of image files."""
        for start in range(0, len(unit.files), BATCH):
            batch = Batch(unit.first + start)
            for place, file in enumerate(unit.files[start : start + BATCH], batch.first):
                try:
                    batch.rows.append(self._image_file(file, unit.folders))
                except (UserError, OSError, pa.ArrowException) as error:
                    batch.faults.append(Fault(place, file, "", first_line(error)))
            yield batch

    def _image_file(self, file: str, folders: int) -> Row:
        """Return the image of a file; the folders above it name its truth."""
        truth = self._names.of_folders(PurePosixPath(file).parts[:-1], folders)
        with opened(self._filesystem, file) as content:
            return Row(prepare(content.read(MAX_FILE_BYTES), self._spec), truth)

    def _row_group(self, unit: Unit) -> Iterator[Batch]:
        """Yield the images of a row group."""
        done = 0
        try:
            with opened(self._filesystem, unit.files[0]) as content:
                for table in _tables(content, unit):
                    yield self._batch(unit, done, table)
                    done += len(table)
        except Exception as error:  # noqa: BLE001 - on odd files Arrow raises a dozen types
            rows = f"{unit.row + done} to {unit.row + unit.images - 1}"
            fault = Fault(unit.first + done, unit.files[0], rows, first_line(error))
            yield Batch(unit.first + done, faults=[fault])

    def _batch(self, unit: Unit, done: int, table: pa.RecordBatch) -> Batch:
        """Return the images of some rows, which are the unit's from ``done`` on."""
        batch = Batch(unit.first + done)
        images, tensors = self._image_column(table.column(IMAGE))
        names = [name for name in (LABEL, COARSE) if self._truth and name in table.schema.names]
        for row in range(len(table)):
            try:
                # One value at a time, as a long one may be repeated many times.
                truth = {name: table.column(name)[row].as_py() for name in names}
                named = self._names.of_columns(truth.get(LABEL), truth.get(COARSE))
                batch.rows.append(Row(self._image(images[row], tensors), named))
            except UserError as error:
                fault = Fault(batch.first + row, unit.files[0], str(unit.row + done + row), str(error))
                batch.faults.append(fault)
        return batch

    def _image_column(self, images: pa.Array) -> tuple[pa.Array, pa.BaseExtensionType | None]:
        """Return the column of images as bytes or lists, and the type of its tensors, if they are tensors.

        Raises:
            UserError: the images have no such form, or another shape.
        """
        tensors = None
        # Ray has more kinds of tensors than Arrow, all of which are stored as lists.
        if isinstance(images.type, pa.BaseExtensionType):
            tensors, images = images.type, images.storage
        # The Hugging Face hub stores images as {bytes, path}.
        if pa.types.is_struct(images.type):
            if "bytes" not in images.type.names:
                raise UserError(f"The column {IMAGE!r} is of type {images.type}; expected a struct with bytes.")
            images = images.field("bytes")
        if not isinstance(tensors, pa.FixedShapeTensorType):
            return images, None
        shape = [tensors.shape[place] for place in tensors.permutation or range(len(tensors.shape))]
        # A grey image may have an axis for its one channel.
        if [side for side in shape if side != 1] != [side for side in self._spec.shape if side != 1]:
            raise UserError(f"The images are tensors of {_by(shape)}; expected {_by(self._spec.shape)}.")
        return images, tensors

    def _image(self, value: pa.Scalar, tensors: pa.BaseExtensionType | None) -> NDArray[np.uint8]:
        """Return an image from its pixels, as bytes or lists of numbers, or from the bytes of an image file."""
        if isinstance(value, pa.DictionaryScalar):
            value = value.value
        if not value.is_valid:
            raise UserError("There is no image.")
        # The scalars of large lists and of lists of a fixed size are list scalars as well.
        if isinstance(value, pa.ListScalar):
            return self._shaped(_logical(_numbers(value.values), tensors))
        if not isinstance(value, pa.BinaryScalar) or isinstance(value, pa.StringScalar):
            raise UserError(f"The image is of type {value.type}; expected bytes or lists of whole numbers.")
        if value.as_buffer().size > MAX_FILE_BYTES:
            size, limit = value.as_buffer().size >> 20, MAX_FILE_BYTES >> 20
            raise UserError(f"The image has {size} MiB; at most {limit} MiB are read.")
        content = value.as_py()
        if len(content) != self._pixels or content.startswith(SIGNATURES):
            return prepare(content, self._spec)
        return self._shaped(np.frombuffer(content, np.uint8))

    def _shaped(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return an image of the model's input shape from its pixels."""
        if pixels.dtype.kind not in "iu" or pixels.size != self._pixels:
            expected = _by(self._spec.shape)
            raise UserError(f"The image is {pixels.size} values of {pixels.dtype}; expected {expected} whole numbers.")
        if pixels.dtype != np.uint8 and not 0 <= pixels.min() <= pixels.max() <= 255:
            raise UserError(f"The image has values from {pixels.min()} to {pixels.max()}; expected 0 to 255.")
        fault = unit_scale_fault(pixels[None])
        if fault is not None:
            raise UserError(f"The image is not read, because {fault[1]}")
        return pixels.astype(np.uint8).reshape(self._spec.shape)


def _tables(content: Any, unit: Unit) -> Iterator[pa.RecordBatch]:
    """Yield the unit's rows, ``BATCH`` at a time.

    Raises:
        UserError: the column of images is missing, or a column occurs twice.
    """
    schema = pq.ParquetFile(content).schema
    names = schema.to_arrow_schema().names
    if IMAGE not in names:
        raise UserError(
            f"There is no column {IMAGE!r}, but {', '.join(names)}; expected {IMAGE!r}, and {LABEL!r} or {COARSE!r} "
            "where the truth is known."
        )
    columns = [name for name in (IMAGE, LABEL, COARSE) if name in names]
    for name in columns:
        if names.count(name) > 1:
            raise UserError(f"There are {names.count(name)} columns {name!r}; leave one.")
    # Values that are repeated are then held once.
    paths = {schema.column(index).path: schema.column(index) for index in range(len(schema))}
    once = [path for path, column in paths.items() if column.physical_type == "BYTE_ARRAY"]
    file = pq.ParquetFile(content, read_dictionary=[path for path in once if path.partition(".")[0] in columns])
    left = unit.images
    for table in file.iter_batches(BATCH, row_groups=[unit.row_group], columns=columns):
        if left:
            yield table.slice(0, left)
        left -= min(left, len(table))


def _logical(pixels: NDArray[Any], tensors: pa.BaseExtensionType | None) -> NDArray[Any]:
    """Return the numbers of a tensor in the order of its axes, which may be another one in memory."""
    if tensors is None or not tensors.permutation:
        return pixels
    return pixels.reshape(tensors.shape).transpose(tensors.permutation).ravel()


def _by(sides: Sequence[int]) -> str:
    """Return a shape in words."""
    return " x ".join(map(str, sides))


def _numbers(values: pa.Array) -> NDArray[Any]:
    """Return the numbers of nested lists, flat."""
    while isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        values = values.flatten()
    found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found
