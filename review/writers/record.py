"""A reviewed image, as writers get it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from review.pictures import Pictures

# Characters that file names cannot have on every system.
UNUSUAL = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*%#]')
MOST_CHARACTERS = 60


class Record(NamedTuple):
    """A reviewed image.

    Args:
        place: its place in the table of images.
        file: its name.
        split: ``train`` or ``test``.
        coarse: its coarse label, as corrected.
        subtype: the id of its subtype.
        name: the name of its subtype, or the id until somebody names it.
        confidence: the model's confidence in the subtype that it found.
        by: ``person`` if somebody moved the image or named its subtype, else ``model``.
        left_out: the mark that leaves it out, empty for none.
    """

    place: int
    file: str
    split: str
    coarse: str
    subtype: str
    name: str
    confidence: float
    by: str
    left_out: str

    def columns(self) -> dict[str, str | float]:
        """Return the columns that describe the image in a table."""
        return {
            "coarse": self.coarse,
            "subtype": self.subtype,
            "name": self.name,
            "confidence": self.confidence,
            "by": self.by,
        }


def kept(records: Sequence[Record]) -> list[Record]:
    """Return the images that no mark leaves out."""
    return [record for record in records if not record.left_out]


def put_all(records: Sequence[Record], pictures: Pictures, folder: Path) -> list[str]:
    """Put images into a folder, and return their names there, each of which begins with the image's place."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        pictures.put(record.place, folder / f"{record.place:06}_{plain(Path(record.file).stem)}").name
        for record in records
    ]


def plain(name: str) -> str:
    """Return a name in a form that every system accepts for files and folders."""
    return UNUSUAL.sub("_", name).strip(" .")[:MOST_CHARACTERS] or "_"
