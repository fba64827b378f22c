"""Folders of images, ``SPLIT/COARSE/NAME/``; images that are left out are not there."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from review.pictures import Pictures
from review.writers.record import Record, kept, plain, put_all


def write(folder: Path, records: Sequence[Record], pictures: Pictures) -> int:
    """Write the folders and return how many images they have."""
    written = kept(records)
    names = folder_names(written)
    by_folder: dict[Path, list[Record]] = defaultdict(list)
    for record in written:
        by_folder[folder / record.split / plain(record.coarse) / names[record.subtype]].append(record)
    return sum(len(put_all(inside, pictures, path)) for path, inside in by_folder.items())


def folder_names(records: Sequence[Record]) -> dict[str, str]:
    """Return the name of each subtype's folder by its id; two of a coarse label are never the same, on any disk."""
    names: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    for record in records:
        if record.subtype not in names:
            # The name of an unnamed subtype is its id, whose slash would make a folder more.
            name = plain(record.name.removeprefix(f"{record.coarse}/"))
            if (record.coarse, name.lower()) in taken:
                name = f"{name} ({plain(record.subtype)})"
            taken.add((record.coarse, name.lower()))
            names[record.subtype] = name
    return names
