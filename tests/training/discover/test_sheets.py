"""Which images a contact sheet shows, and what it looks like."""

from pathlib import Path

import numpy as np
from PIL import Image

from training.discover.sheets import TILE, file_name, select, sheet
from training.discover.subtypes import Row


def _row(number: int, confidence: float, typicality: float, outlier: int = 0, duplicate_of: str = "") -> Row:
    return Row(f"{number}.png", "train", "ok", "ok/1", "ok/1", confidence, typicality, outlier, "", duplicate_of)


def test_each_image_is_shown_once() -> None:
    rows = [_row(number, 1 - number / 100, number / 60) for number in range(60)]
    rows[50] = _row(50, 0.9, 0.8, outlier=1)
    rows[59] = _row(59, 0.9, 1.0, duplicate_of="1.png")
    found = select(rows, np.arange(60))
    assert found.typical[0] == 58
    assert found.odd[0] == 50
    assert 59 not in [*found.typical, *found.borderline, *found.odd]
    shown = [*found.typical, *found.borderline, *found.odd]
    assert len(shown) == len(set(shown)) == 40
    confidence = [rows[place].confidence for place in found.borderline]
    assert confidence == sorted(confidence)


def test_a_subtype_of_duplicates_is_shown() -> None:
    rows = [_row(number, 1, 1, duplicate_of="9.png") for number in range(3)]
    assert len(select(rows, np.arange(3)).typical) == 3


def test_a_sheet_has_a_tile_for_each(tmp_path: Path) -> None:
    rows, files = [], []
    for number in range(12):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", (30 + number, 20), (250, 10, 20)).save(files[-1])
        rows.append(_row(number, 0.5, number / 12))
    files[3].unlink()
    made = sheet("ok/1", select(rows, np.arange(12)), files)
    red = (np.asarray(made) == (250, 10, 20)).all(axis=2).sum()
    assert red == 11 * TILE * TILE


def test_a_sheet_is_named_after_its_subtype() -> None:
    assert file_name("ok/1") == "ok_1.png"
