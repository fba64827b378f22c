"""Draw docs/images/contact_sheets.png: some contact sheets of a run side by side.

Run by hand, as in ``python tools/contact_sheets.py RUN animals/1 animals/2 vehicles/1 vehicles/2``.
"""

import sys
from pathlib import Path

from PIL import Image

from training.discover.sheets import file_name
from training.discover.writing import SHEETS

REPOSITORY = Path(__file__).resolve().parents[1]
COLUMNS, WIDTH, GAP = 2, 620, 16
COLOURS = 128


def main(run: Path, subtypes: list[str]) -> None:
    """Lay out the sheets of some subtypes in two columns."""
    sheets = [_reduced(Image.open(run / SHEETS / file_name(name)).convert("RGB")) for name in subtypes]
    height = max(sheet.height for sheet in sheets)
    rows = -(-len(sheets) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (WIDTH + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    for number, sheet in enumerate(sheets):
        row, column = divmod(number, COLUMNS)
        page.paste(sheet, (column * (WIDTH + GAP), row * (height + GAP)))
    # Few colours make the file small, and the photographs are small, too.
    page.quantize(COLOURS).save(REPOSITORY / "docs" / "images" / "contact_sheets.png", optimize=True)


def _reduced(sheet: Image.Image) -> Image.Image:
    """Return a sheet with the width of a column."""
    return sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
