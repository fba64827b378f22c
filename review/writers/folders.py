"""Folders of images, ``SPLIT/COARSE/NAME/``, without the images that are left out."""

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
    """Return the folder name of each subtype by its id; within a coarse label they differ even if case is ignored."""
    names: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    for record in records:
        if record.subtype not in names:
            # The name of an unnamed subtype is its id, whose slash would add a folder.
            name = plain(record.name.removeprefix(f"{record.coarse}/"))
            if (record.coarse, name.lower()) in taken:
                name = f"{name} ({plain(record.subtype)})"
            taken.add((record.coarse, name.lower()))
            names[record.subtype] = name
    return names
