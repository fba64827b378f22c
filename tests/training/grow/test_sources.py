import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clustnet.corrections.actions import parse
from clustnet.corrections.session import Session
from clustnet.errors import UserError
from tests.training.grow.made import CLASSES, write_folder
from training.discover.found import found_by_discover
from training.discover.reading import Image, Problem, write_lists
from training.discover.subtypes import Row, write_subtypes
from training.grow.config import GrowData
from training.grow.sources import items


def labels_in(path: Path, run: Path) -> set[str]:
    return {"/".join(item.labels) for item in items(GrowData(path=path), run)}


def test_nested_folders_of_any_depth(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 2)
    found = items(GrowData(path=folder), tmp_path / "run")
    assert {"/".join(item.labels) for item in found} == set(CLASSES)
    assert found[0].name == "animal/canine/beagle/0.png"
    assert not any(item.test for item in found)
    assert all(item.file.is_file() for item in found)


def test_folders_of_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path / "photos" / split, 2)
    found = items(GrowData(path=tmp_path / "photos"), tmp_path / "run")
    assert {"/".join(item.labels) for item in found} == set(CLASSES)
    assert [item.test for item in found].count(True) == 8


def test_tables_of_paths_of_labels(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 2)
    rows = [{"file": f"photos/{name}/{n}.png", "label": name} for name in CLASSES for n in range(2)]
    with (tmp_path / "photos.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "label"])
        writer.writeheader()
        writer.writerows(rows)
    assert labels_in(tmp_path / "photos.csv", tmp_path / "run") == set(CLASSES)
    content = [(folder.parent / row["file"]).read_bytes() for row in rows]
    table = pa.table({"image": content, "label": [row["label"] for row in rows]})
    pq.write_table(table, tmp_path / "photos.parquet")
    assert labels_in(tmp_path / "photos.parquet", tmp_path / "run") == set(CLASSES)


def test_reviewed_names_of_a_discovery(tmp_path: Path) -> None:
    rows, images = [], []
    for number, subtype in enumerate(["cat/1", "cat/2", "cat/3", "cat/3", "rock/1", "rock/1"]):
        coarse = subtype.partition("/")[0]
        twin = "2.png" if number == 3 else ""
        rows.append(Row(f"{number}.png", "train", coarse, subtype, subtype, 1.0, 1.0, 0, "", twin))
        images.append(Image(f"{number}.png", f"train/{coarse}/{number}.png", "train", coarse, "", 4, 4, 1))
    write_subtypes(tmp_path / "subtypes.csv", rows)
    write_lists(tmp_path, images, list[Problem]())
    actions = [
        {"verb": "rename", "subtype": "cat/1", "name": "house cat/tabby"},
        {"verb": "merge", "subtypes": ["cat/2", "cat/3"]},
        {"verb": "rename", "subtype": "cat/2", "name": "lion"},
        {"verb": "mark", "files": ["5.png"], "mark": "wrong_label"},
    ]
    Session(tmp_path, found_by_discover(tmp_path)).do([parse(action) for action in actions])
    found = items(GrowData(path=tmp_path), tmp_path / "run")
    assert [item.labels for item in found] == [
        ("cat", "house cat", "tabby"),
        ("cat", "lion"),
        ("cat", "lion"),
        ("rock",),
    ]
    assert [item.name for item in found] == ["0.png", "1.png", "2.png", "4.png"]
    assert found[0].file == tmp_path / "images/train/cat/0.png"


def test_empty_node_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 1)
    (folder / "animal" / "bird").mkdir()
    with pytest.raises(UserError, match=r"Folders without an image in .*photos: animal/bird; put some in"):
        items(GrowData(path=folder), tmp_path / "run")


def test_images_outside_all_folders(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 1)
    (folder / "rock" / "0.png").rename(folder / "lost.png")
    (folder / "rock").rmdir()
    with pytest.raises(UserError, match=r"Images without a label: lost.png; sort them into folders"):
        items(GrowData(path=folder), tmp_path / "run")
