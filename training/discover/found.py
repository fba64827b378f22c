"""What ``clustnet discover`` found, in the form from which a review starts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clustnet.corrections.state import Found, Subtype
from training.discover.subtypes import SUBTYPES, Row, read_subtypes


def found_in(rows: Sequence[Row]) -> Found:
    """Return what the rows of ``subtypes.csv`` say."""
    own = [Subtype(row.subtype, row.coarse, "" if row.name == row.subtype else row.name) for row in rows]
    return found_of([row.file for row in rows], own)


def found_of(files: Sequence[str], own: Sequence[Subtype]) -> Found:
    """Return what was found, given the file and the subtype of each image."""
    subtypes = sorted(set(own), key=lambda subtype: (subtype.coarse, _number(subtype.id)))
    place = {subtype: number for number, subtype in enumerate(subtypes)}
    labels = list(dict.fromkeys(subtype.coarse for subtype in subtypes))
    return Found(files, labels, subtypes, np.array([place[subtype] for subtype in own], np.int64))


def _number(name: str) -> int:
    return int(name.rpartition("/")[2])


def is_discovered(run: Path) -> bool:
    """Return whether ``clustnet discover`` made a run and finished it."""
    return (run / SUBTYPES).is_file()


def found_by_discover(run: Path) -> Found:
    """Return what ``clustnet discover`` found."""
    return found_in(read_subtypes(run / SUBTYPES))
