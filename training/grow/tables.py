"""Tables as files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clustnet.files import write_table


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all, with numbers rounded to six decimals."""
    write_table(path, [{key: _short(value) for key, value in row.items()} for row in rows])


def _short(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
