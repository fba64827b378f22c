"""What the reports have in common: a folder that appears whole, and tables."""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clustnet.errors import UserError
from clustnet.files import replacing_folder


@contextmanager
def replacing_report(folder: Path) -> Iterator[Path]:
    """Yield a folder to write a report into; it appears whole or not at all, in the place of an earlier report.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        with replacing_folder(folder) as temporary:
            yield temporary
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {folder} ({error.strerror}); name another folder with --out."
        ) from None


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
