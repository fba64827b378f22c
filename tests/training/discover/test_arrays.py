"""Embeddings in the place of images."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clustnet.errors import UserError
from training.discover.arguments import Arguments
from training.discover.arrays import holds_embeddings, load_embedded, read_embedded
from training.discover.reading import load_files


def _array(tmp_path: Path, rows: object, labels: object = None) -> Arguments:
    np.save(tmp_path / "rows.npy", np.asarray(rows))
    if labels is None:
        return Arguments(images=tmp_path / "rows.npy")
    np.save(tmp_path / "labels.npy", np.asarray(labels))
    return Arguments(images=tmp_path / "rows.npy", labels=tmp_path / "labels.npy")


def test_an_array_has_labels_beside_it(tmp_path: Path) -> None:
    found = load_embedded(_array(tmp_path, [[1, 2], [3, 4]], ["ok", "bad"]))
    assert found.rows.dtype == np.float32
    assert (found.labels, found.names) == (["ok", "bad"], ["rows.npy:0", "rows.npy:1"])
    assert load_embedded(_array(tmp_path, [[1.0, 2.0]])).labels == ["all"]


def test_labels_may_be_a_csv(tmp_path: Path) -> None:
    arguments = _array(tmp_path, [[1, 2], [3, 4]])
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["label"], ["ok"], ["bad"]])
    found = load_embedded(arguments.model_copy(update={"labels": tmp_path / "labels.csv"}))
    assert found.labels == ["ok", "bad"]


def test_a_table_has_its_own_labels(tmp_path: Path) -> None:
    table = pa.table({"file": ["a.png", "b.png"], "embedding": [[1.0, 2.0], [3.0, 4.0]], "label": ["ok", "bad"]})
    pq.write_table(table.append_column("split", pa.array(["train", "test"])), tmp_path / "rows.parquet")
    arguments = Arguments(images=tmp_path / "rows.parquet")
    assert holds_embeddings(arguments)
    found = load_embedded(arguments)
    assert (found.names, found.labels, found.splits) == (["a.png", "b.png"], ["ok", "bad"], ["train", "test"])


@pytest.mark.parametrize(
    ("rows", "labels", "said"),
    [
        ([1.0, 2.0], None, "one row of numbers per image"),
        ([["a"]], None, "one row of numbers per image"),
        (np.zeros((0, 3)), None, "one row of numbers per image"),
        ([[1.0], [2.0]], ["ok"], "there are 1 labels; give as many"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, rows: object, labels: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_embedded(_array(tmp_path, rows, labels))


def test_rows_that_cannot_be_used_are_left_out(tmp_path: Path) -> None:
    arguments = _array(tmp_path, [[1, 2], [np.inf, 1], [0, 0], [1, 2], [3, 4]], ["ok", "ok", "ok", "ok", "bad"])
    problems = read_embedded(load_embedded(arguments), tmp_path, arguments.images)
    assert [problem.problem for problem in problems] == [
        "has numbers that are not finite",
        "is all zeros",
        "is equal to rows.npy:0",
    ]
    assert [image.file for image in load_files(tmp_path)] == ["rows.npy:0", "rows.npy:4"]
