"""Write the reviewed images for another tool, in a folder that appears whole or not at all."""

import importlib
from pathlib import Path

from clustnet.corrections.state import Review
from clustnet.errors import UserError
from clustnet.files import check_writable, replacing_folder
from review.run import Run
from review.writers import FORMATS
from review.writers.record import Record


def records(run: Run, review: Review) -> list[Record]:
    """Return all images as they were reviewed."""
    found = []
    for place, row in enumerate(run.rows):
        subtype = review.subtypes[review.of[place]]
        by = "person" if subtype.name or row.file in review.touched else "model"
        mark = review.left_out(row.file)
        where = (subtype.coarse, subtype.id, subtype.title)
        found.append(Record(place, row.file, row.split, *where, row.confidence, by, mark))
    return found


def write(kind: str, folder: Path, run: Run, review: Review) -> str:
    """Write a format, and return a sentence that says what was written.

    Raises:
        UserError: there is no such format, the folder is in use, or an image cannot be read any more.
    """
    if kind not in FORMATS:
        raise UserError(f"--write has no format {kind!r}; choose one of {', '.join(FORMATS)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} already exists and is not empty; name another folder.")
    check_writable(folder.absolute().parent, "--write FORMAT DIR")
    if run.pictures is None and kind != "csv":
        raise UserError(f"{run.path} has embeddings without images, so only --write csv is possible.")
    try:
        with replacing_folder(folder) as made:
            count: int = importlib.import_module(f"review.writers.{kind}").write(
                made, records(run, review), run.pictures
            )
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be read or written ({error.strerror}).") from None
    return f"{folder}: {count:,} images of {len(review.subtypes)} subtypes as {kind}"
