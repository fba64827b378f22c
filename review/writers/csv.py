"""A table, ``subtypes.csv``, with a row for each image; if an image is left out, ``left_out`` says why."""

from collections.abc import Sequence
from pathlib import Path

from clustnet.files import write_table
from review.pictures import Pictures
from review.writers.record import Record


def write(folder: Path, records: Sequence[Record], pictures: Pictures | None) -> int:  # noqa: ARG001
    """Write the table and return how many images it has."""
    rows = [
        {"file": record.file, "split": record.split, **record.columns(), "left_out": record.left_out}
        for record in records
    ]
    write_table(folder / "subtypes.csv", rows)
    return len(rows)
