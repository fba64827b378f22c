"""A run as it is reviewed: its table of images, the space in which they are compared, and their pictures.

``clustnet discover`` leaves all of it in the run. For a run of another method it is computed once and kept in
``RUN/.review/``, like everything there that can be made again.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.corrections.state import Found
from clustnet.errors import UserError
from review.pictures import ArrayPictures, FilePictures, Pictures
from training.discover.collection import Collection
from training.discover.found import found_in, is_discovered
from training.discover.subtypes import SUBTYPES, Row, read_subtypes

KEPT = ".review"
SPACE = "space.npy"
NOT_FINISHED = "{} is not finished; run 'clustnet discover' with the same arguments to the end, then review it."

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """A run that is reviewed.

    Args:
        path: its folder.
        rows: its table of images.
        found: the subtypes that it found.
        space: the space in which images are compared, float32 [N, D].
        pictures: the pictures of the images; None for embeddings without images.
    """

    path: Path
    rows: list[Row]
    found: Found
    space: Floats
    pictures: Pictures | None

    @property
    def title(self) -> str:
        """The run's name."""
        return self.path.resolve().name

    @property
    def kept(self) -> Path:
        """The folder for what can be made again."""
        return self.path / KEPT


def open_run(path: Path) -> Run:
    """Return a run, ready to be reviewed.

    Raises:
        UserError: there is no finished run, or its data cannot be read any more.
    """
    if is_discovered(path):
        return _discovered(path)
    if (path / "discover.json").is_file():
        raise UserError(NOT_FINISHED.format(path))
    return _trained(path)


def _discovered(path: Path) -> Run:
    rows, images = read_subtypes(path / SUBTYPES), Collection.of(path)
    if len(rows) != len(images.images):
        raise UserError(f"{path / SUBTYPES} and {path / 'files.csv'} do not match; run 'clustnet discover' again.")
    pictures = FilePictures(images.files, path / KEPT / "small") if (path / "thumbnails.npy").is_file() else None
    return Run(path, rows, found_in(rows), images.space, pictures)


def _trained(path: Path) -> Run:
    """Return a run of another method."""
    # Imported here, because torch is slow to import.
    from review.trained import prepare, splits
    from training.runs.run_folder import RunFolder

    folder = RunFolder.kept(path)
    parts = splits(folder)
    kept = path / KEPT / f"epoch_{folder.last_epoch():03}"
    if not kept.is_dir():
        prepare(kept, folder, parts)
    rows, data = read_subtypes(kept / SUBTYPES), folder.recipe().data
    pictures: Pictures
    if parts[0].files is not None and data.path is not None:
        files = [data.path / file for part in parts for file in part.files or ()]
        pictures = FilePictures(files, path / KEPT / "small")
    else:
        pictures = ArrayPictures([part.images for part in parts])
    return Run(path, rows, found_in(rows), np.load(kept / SPACE), pictures)
