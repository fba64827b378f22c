"""Contact sheets: the most typical images of a subtype, those on the border to another, and the odd ones."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from clustnet.bundles.decoding import decode
from clustnet.errors import UserError
from training.discover.glance import content_of
from training.discover.subtypes import Row

COLUMNS, MOST_ROWS = 10, {"typical": 2, "borderline": 1, "odd": 1}
TILE, GAP, TITLE, HEADING = 96, 4, 24, 22
PAPER, INK, MUTED = "white", "#1f2430", "#5b6475"
TITLES = {"typical": "most typical", "borderline": "borderline", "odd": "outliers and least typical"}


class Selection(NamedTuple):
    """The images of a subtype that its sheet shows, as indices into the table of images; no image is shown twice.

    Args:
        typical: the most typical first.
        borderline: the least confident first.
        odd: outliers first, then the least typical.
    """

    typical: list[int]
    borderline: list[int]
    odd: list[int]


def select(rows: Sequence[Row], members: NDArray[np.int64]) -> Selection:
    """Return the images of a subtype that its sheet shows; of near duplicates only the first.

    Args:
        rows: the table of all images.
        members: int64 [M], the indices of the subtype's images.
    """
    left = [int(place) for place in members if not rows[place].duplicate_of] or members.tolist()
    typical = sorted((place for place in left if not rows[place].outlier), key=lambda place: -rows[place].typicality)
    typical = typical[: COLUMNS * MOST_ROWS["typical"]]
    rest = [place for place in left if place not in set(typical)]
    by_confidence = sorted(
        (place for place in rest if not rows[place].outlier), key=lambda place: rows[place].confidence
    )
    borderline = by_confidence[: COLUMNS * MOST_ROWS["borderline"]]
    odd = [place for place in rest if place not in set(borderline)]
    odd.sort(key=lambda place: (-rows[place].outlier, rows[place].typicality))
    return Selection(typical, borderline, odd[: COLUMNS * MOST_ROWS["odd"]])


def sheet(title: str, selection: Selection, files: Sequence[Path]) -> Image.Image:
    """Return the contact sheet of a subtype.

    Args:
        title: heading of the sheet.
        selection: the images to show.
        files: files of all images.
    """
    parts = [(name, places) for name, places in selection._asdict().items() if places]
    lines = sum(-(-len(places) // COLUMNS) for _, places in parts)
    size = COLUMNS * (TILE + GAP) + GAP, TITLE + len(parts) * HEADING + lines * (TILE + GAP) + GAP
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, GAP), title, INK, ImageFont.load_default(15))
    top = TITLE
    for name, places in parts:
        draw.text((GAP, top + GAP), TITLES[name], MUTED, ImageFont.load_default(13))
        top += HEADING
        for number, place in enumerate(places):
            row, column = divmod(number, COLUMNS)
            page.paste(_tile(files[place]), (GAP + column * (TILE + GAP), top + row * (TILE + GAP)))
        top += -(-len(places) // COLUMNS) * (TILE + GAP)
    return page


def _tile(path: Path) -> Image.Image:
    """Return an image cropped to a square tile, or a grey tile if it can no longer be read."""
    try:
        return ImageOps.fit(decode(content_of(path)), (TILE, TILE), Image.Resampling.BICUBIC)
    except (UserError, OSError):
        return Image.new("RGB", (TILE, TILE), "#cccccc")


def jpeg(image: Image.Image) -> bytes:
    """Return an image, grey or RGB, as a JPEG file."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return content.getvalue()


def file_name(subtype: str) -> str:
    """Return the name of a subtype's sheet, ``LABEL/1`` as ``LABEL_1.png``."""
    return subtype.replace("/", "_") + ".png"
