import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from evaluation.files import units
from evaluation.files.patterns import names_files
from evaluation.files.units import IMAGES_PER_UNIT, Unit, list_units
from tests.evaluation.image_files import write_columns, write_parquet


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("data", "files"),
    [
        ("mnist:test", False),
        ("cifar10:cifar10.npz:test", False),
        ("s3://bucket/digits/*.parquet", True),
        ("digits/*/*.PNG", True),
        ("digits/*", True),
        ("*/*", True),
        ("~/digits/*/*", True),
        ("digits/7/scan", True),
        ("a.jfif", True),
        ("a.JPE", True),
        ("there", True),
        ("missing", False),
        ("folder:digits/photos", False),
        ("folder:digits/*:test", False),
        ("minst:digits/photos:test", False),
    ],
)
def test_files_are_told_from_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, files: bool) -> None:
    (tmp_path / "there").touch()
    monkeypatch.chdir(tmp_path)
    assert names_files(data) is files


def test_a_pattern_stands_for_parts_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path, "a/1.png", "a/0.png", "b/2.png", "b/2.txt", "b/.3.png", ".c/4.png", "5.png", "a/deep/6.png")
    found = [str(tmp_path / name) for name in ("a/0.png", "a/1.png", "b/2.png")]
    monkeypatch.chdir(tmp_path)
    for pattern in (f"{tmp_path}/*/*.png", f"file://{tmp_path}/*/*.png", "*/*.png", "[ab]/?.png"):
        assert list_units(pattern).units == [Unit(tuple(found), 0, 3, folders=1)], pattern
    assert list_units("5.png").units == [Unit((str(tmp_path / "5.png"),), 0, 1)]


def test_image_files_are_in_ordered_units(tmp_path: Path) -> None:
    touched(tmp_path, *(f"7/{index:05}.png" for index in range(IMAGES_PER_UNIT + 3)))
    listing = list_units(f"{tmp_path}/*/*.png")
    assert [(unit.first, unit.images) for unit in listing.units] == [(0, IMAGES_PER_UNIT), (IMAGES_PER_UNIT, 3)]
    assert listing.units[1].files == tuple(f"{tmp_path}/7/{IMAGES_PER_UNIT + index:05}.png" for index in range(3))
    few = listing.first(IMAGES_PER_UNIT + 1)
    assert (few.images, len(few.units[1].files)) == (IMAGES_PER_UNIT + 1, 1)
    assert listing.first(None) is listing


def test_a_unit_of_parquet_is_a_row_group(tmp_path: Path, mnist_test: LabelledImages) -> None:
    one = write_parquet(tmp_path / "one.parquet", mnist_test.first(5), row_group=2)
    two = write_parquet(tmp_path / "two.parquet", mnist_test.first(3), row_group=2)
    write_columns(tmp_path / "none.parquet", [], [])
    listing = list_units(f"{tmp_path}/*.parquet")
    assert listing.units == [
        Unit((str(one),), 0, 2, 0, 0),
        Unit((str(one),), 2, 2, 1, 2),
        Unit((str(one),), 4, 1, 2, 4),
        Unit((str(two),), 5, 2, 0, 0),
        Unit((str(two),), 7, 1, 1, 2),
    ]
    assert listing.images == 8
    assert [unit.images for unit in listing.first(3).units] == [2, 1]


def test_a_file_without_a_footer_is_listed(tmp_path: Path, mnist_test: LabelledImages) -> None:
    write_parquet(tmp_path / "b.parquet", mnist_test.first(5))
    (tmp_path / "a.parquet").write_bytes(b"torn")
    listing = list_units(f"{tmp_path}/*.parquet")
    assert (listing.images, listing.unread.total) == (5, 1)
    assert listing.unread.listed[0].file == f"{tmp_path}/a.parquet"
    assert "Parquet" in listing.unread.listed[0].reason


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("nowhere/*.png", "No files match 'nowhere/.*quote it"),
        ("gopher://x/*.png", "cannot be listed .*check the address"),
    ],
)
def test_nothing_to_read_is_reported(pattern: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        list_units(pattern)


def test_home_is_read_in_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(touched(tmp_path, "digits/1/a.png")))
    assert list_units("~/digits/*/*.png").units == [Unit((f"{tmp_path}/digits/1/a.png",), 0, 1, folders=1)]


def test_files_need_no_ending(tmp_path: Path, mnist_test: LabelledImages) -> None:
    touched(tmp_path, "7/a", "7/b.jfif", "8/c.jpe", "9/e.txt")
    parquet = write_parquet(tmp_path / "8" / "d.parquet", mnist_test.first(5))
    assert list_units(f"{tmp_path}/*/*").units == [
        Unit((f"{tmp_path}/7/a", f"{tmp_path}/7/b.jfif", f"{tmp_path}/8/c.jpe"), 0, 3, folders=1),
        Unit((str(parquet),), 3, 5, 0),
        Unit((f"{tmp_path}/9/e.txt",), 8, 1, folders=1),
    ]


def test_system_files_are_passed_over(tmp_path: Path) -> None:
    touched(tmp_path, "7/a.png", "7/Thumbs.db", "7/desktop.ini", "7/.DS_Store", "__MACOSX/a.png", "7/Thumbs.png")
    found = [file for unit in list_units(f"{tmp_path}/*/*").units for file in unit.files]
    assert [Path(file).name for file in found] == ["Thumbs.png", "a.png"]
    # Its own name names it.
    assert list_units(f"{tmp_path}/7/Thumbs.db").images == 1


def test_names_may_be_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    for name in (b"caf\xe9.png", b"z.png", b"\xff.txt"):
        Path(os.fsdecode(os.fsencode(tmp_path / "7") + b"/" + name)).touch()
    (unit,) = list_units(f"{tmp_path}/*/*.png").units
    assert [os.fsencode(Path(file).name) for file in unit.files] == [b"caf\xe9.png", b"z.png"]


def test_links_that_lead_nowhere_are_listed(tmp_path: Path) -> None:
    touched(tmp_path, "7/b.png")
    (tmp_path / "7" / "a.png").symlink_to("nowhere")
    (tmp_path / "8").symlink_to("nowhere")
    (tmp_path / "7" / "c.parquet").symlink_to("nowhere")
    (unit,) = list_units(f"{tmp_path}/*/*.png").units
    assert unit.files == (f"{tmp_path}/7/a.png", f"{tmp_path}/7/b.png", f"{tmp_path}/8")
    listing = list_units(f"{tmp_path}/7/*.parquet")
    assert [fault.reason for fault in listing.unread.listed] == ["The link leads to no file."]


@pytest.mark.parametrize("repeated", [False, True])
def test_large_row_groups_are_refused_by_footer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeated: bool
) -> None:
    monkeypatch.setattr(units, "MAX_ROW_GROUP_BYTES", 100_000)
    # Parquet keeps equal numbers in a few bytes.
    equal = pa.array([[0] * 2000] * 100, pa.list_(pa.uint8()))
    image = equal if repeated else [np.random.default_rng(row).bytes(2000) for row in range(100)]
    path = write_columns(tmp_path / "a.parquet", image, [0] * 100, 80)
    listing = list_units(str(path))
    (fault,) = listing.unread.listed
    assert (fault.place, fault.rows) == (0, "0 to 79")
    assert "GiB of memory, and at most" in fault.reason
    assert listing.units == [Unit((str(path),), 80, 20, 1, 80)]
