"""What the reports' pages have in common."""

import base64
import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2

from clustnet.errors import UserError
from clustnet.files import replacing_folder


@contextmanager
def replacing_report(folder: Path) -> Iterator[Path]:
    """Yield a folder to write a report into; it appears whole or not at all, in the place of an earlier report.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with replacing_folder(folder) as temporary:
            yield temporary
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {folder} ({error.strerror}); name another folder with --out."
        ) from None


def render(template: str, **values: Any) -> str:
    """Return a page made from one of ``evaluation/templates``; a value that the template misses is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def data_url(png: bytes) -> str:
    """Return a picture as an address, so that a page is one file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
