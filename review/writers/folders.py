"""Folders of images, ``SPLIT/COARSE/NAME/``; images that are left out are not there."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from review.pictures import Pictures
from review.writers.record import Record, kept, plain, put_all


def write(folder: Path, records: Sequence[Record], pictures: Pictures) -> int:
    """Write the folders and return how many images they have."""
    by_folder: dict[Path, list[Record]] = defaultdict(list)
    for record in kept(records):
        # The name of an unnamed subtype is its id, whose slash would make a folder more.
        name = record.name.removeprefix(f"{record.coarse}/")
        by_folder[folder / record.split / plain(record.coarse) / plain(name)].append(record)
    return sum(len(put_all(inside, pictures, path)) for path, inside in by_folder.items())
