"""Images with their names, from files, folders, patterns and Parquet, a few of them in memory at a time."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.preparation import prepare
from clustnet.datasets.folder import MAX_FILE_BYTES
from clustnet.datasets.folder_layout import is_hidden
from clustnet.errors import UserError
from clustnet.files import shown
from evaluation.files.patterns import PARQUET, PICTURES, WILD
from evaluation.sources.sources import BATCH, ModelInfo


class Named(NamedTuple):
    """An image with its name, or why there is none."""

    name: str
    image: NDArray[np.uint8] | None
    fault: str = ""


def named_images(sources: Sequence[Path], info: ModelInfo) -> Iterator[list[Named]]:
    """Yield the images of files, folders at any depth, patterns and Parquet files, ``BATCH`` at a time.

    Args:
        sources: paths; one with ``*``, ``?`` or ``[...]`` that does not exist is a pattern, in which ``**`` stands for
            any folders.
        info: what the model that reads them says of itself.
    """
    batch: list[Named] = []
    for path in _files(sources):
        for found in _rows(path, info) if path.suffix.lower() == PARQUET else [_image(path, info)]:
            batch.append(found)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _files(sources: Sequence[Path]) -> Iterator[Path]:
    """Yield the files of each source, those of folders and patterns in the order of their names.

    Raises:
        UserError: a folder or pattern yields no file.
    """
    for source in sources:
        if source.is_dir():
            found = [path for path in sorted(source.rglob("*")) if _is_picture(path, source)]
        elif WILD & set(str(source)) and not source.exists():
            # Path.glob takes no pattern that begins at the root.
            matches = sorted(glob.glob(str(source), recursive=True))  # noqa: PTH207
            found = [path for path in map(Path, matches) if path.is_file()]
        else:
            yield source
            continue
        if not found:
            raise UserError(
                f"There is no image file in {shown(source)}; image files end in {', '.join(PICTURES[:2])} and so on."
            )
        yield from found


def _is_picture(path: Path, folder: Path) -> bool:
    """Return whether a file in a folder is an image or a table of images, and not hidden."""
    visible = not any(is_hidden(part) for part in path.relative_to(folder).parts)
    return visible and path.suffix.lower() in (PARQUET, *PICTURES) and path.is_file()


def _image(path: Path, info: ModelInfo) -> Named:
    try:
        with path.open("rb") as file:
            return Named(shown(path), prepare(file.read(MAX_FILE_BYTES + 1), info.input))
    except UserError as error:
        return Named(shown(path), None, str(error))
    except OSError as error:
        return Named(shown(path), None, f"{error.strerror}; name image files.")


def _rows(path: Path, info: ModelInfo) -> Iterator[Named]:
    """Yield the images of a Parquet file, named by their rows."""
    # Imported here, because image files need no pyarrow.
    from evaluation.files.reading import Reader
    from evaluation.files.units import list_units

    listing = list_units(glob.escape(str(path)))
    for fault in listing.unread.listed:
        yield Named(shown(path), None, fault.reason)
    reader = Reader(listing.filesystem, info, truth=False)
    for unit in listing.units:
        for batch in reader.batches(unit):
            faults = {fault.place: fault for fault in batch.faults}
            rows, place = iter(batch.rows), batch.first
            for _ in range(len(batch.rows) + len(faults)):
                name = f"{shown(path)}:{unit.row + place - unit.first}"
                yield Named(name, None, faults[place].reason) if place in faults else Named(name, next(rows).image)
                place += 1
