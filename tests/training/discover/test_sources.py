"""Which images a folder or a table names, with their splits and coarse labels."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.errors import UserError
from training.discover.arguments import Columns
from training.discover.sources import entries, label_text, split_of


def _touch(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")
    return folder


def _found(path: Path) -> list[tuple[str, str, str]]:
    return [(entry.name, entry.split, entry.label) for entry in entries(path, Columns())]


def test_sub_folders_are_coarse_labels(tmp_path: Path) -> None:
    _touch(tmp_path, "ok/a.jpg", "ok/deep/er/b.jpg", "bad/c.jpg", ".git/d.jpg", "ok/Thumbs.db", "note.txt")
    assert _found(tmp_path) == [
        ("bad/c.jpg", "train", "bad"),
        ("note.txt", "train", ""),
        ("ok/a.jpg", "train", "ok"),
        ("ok/deep/er/b.jpg", "train", "ok"),
    ]


def test_train_and_test_are_splits(tmp_path: Path) -> None:
    _touch(tmp_path, "train/ok/a.jpg", "test/ok/b.jpg", "elsewhere/c.jpg")
    assert _found(tmp_path) == [("train/ok/a.jpg", "train", "ok"), ("test/ok/b.jpg", "test", "ok")]


def test_test_beside_labels_is_a_split(tmp_path: Path) -> None:
    _touch(tmp_path, "ok/a.jpg", "bad/c.jpg", "test/ok/b.jpg", "reference/ok/kind/d.jpg")
    assert _found(tmp_path)[-1] == ("test/ok/b.jpg", "test", "ok")
    assert len(_found(tmp_path)) == 3


def test_images_alone_have_one_label(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    assert _found(tmp_path) == [("a.jpg", "train", "all"), ("b.jpg", "train", "all")]


def test_links_are_followed_once(tmp_path: Path) -> None:
    _touch(tmp_path, "ok/a.jpg", "bad/c.jpg")
    (tmp_path / "ok" / "round").symlink_to(tmp_path / "ok")
    (tmp_path / "zz").symlink_to(tmp_path / "ok")
    assert [name for name, _, _ in _found(tmp_path)] == ["bad/c.jpg", "ok/a.jpg"]


def test_a_csv_names_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,label,split\nsub/a.jpg,ok,\nb.jpg,bad,test\n,ok,train\n")
    found = list(entries(tmp_path / "list.csv", Columns()))
    assert [(entry.name, entry.split, entry.label) for entry in found] == [
        ("sub/a.jpg", "train", "ok"),
        ("b.jpg", "test", "bad"),
        ("list.csv:2", "train", "ok"),
    ]
    assert found[0].path == tmp_path / "sub" / "a.jpg"
    assert found[0].place == "0000000_a.jpg"


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "kind"], ["a.jpg", "ok"]])
    columns = Columns(file="path", label="kind")
    assert [entry.label for entry in entries(tmp_path / "list.csv", columns)] == ["ok"]
    with pytest.raises(UserError, match="has no column 'file', but path, kind"):
        list(entries(tmp_path / "list.csv", Columns()))


def test_hugging_face_images_and_names_are_read(tmp_path: Path) -> None:
    images = [{"bytes": b"first", "path": "a.jpg"}, {"bytes": b"second", "path": None}]
    table = pa.table({"image": images, "label": [1, 0]})
    features = {"info": {"features": {"label": {"names": ["bad", "ok"], "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "set.parquet")
    found = list(entries(tmp_path / "set.parquet", Columns()))
    assert [(entry.name, entry.label, entry.content) for entry in found] == [
        ("set.parquet:0:a.jpg", "ok", b"first"),
        ("set.parquet:1", "bad", b"second"),
    ]


@pytest.mark.parametrize(("name", "said"), [("none", "There is no folder or file"), ("list.txt", "neither a folder")])
def test_other_sources_are_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "list.txt").write_text("a.jpg")
    with pytest.raises(UserError, match=said):
        entries(tmp_path / name, Columns())


@given(st.one_of(st.none(), st.text(), st.integers(), st.floats()))
def test_any_value_names_a_split(value: object) -> None:
    assert split_of(value) in ("train", "test")
    assert isinstance(label_text(value, ["a", "b"]), str)
