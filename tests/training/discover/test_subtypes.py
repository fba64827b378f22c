"""The table of images: subtypes of the cells in use, typicality, outliers."""

from pathlib import Path

import numpy as np

from training.discover.subtypes import (
    Routing,
    Row,
    assigned,
    of_clusters,
    outliers,
    read_routing,
    read_subtypes,
    summaries,
    table_text,
    typicality,
    write_subtypes,
)

FILES = [f"{number}.png" for number in range(200)]


def _routing(experts: list[int], coarse: list[int], experts_count: int = 3) -> Routing:
    routing = np.eye(experts_count, dtype=np.float32)[experts] * 0.8 + 0.2 / experts_count
    return Routing(FILES[: len(experts)], np.array(coarse), routing)


def test_the_largest_cell_is_number_one() -> None:
    coarse = np.repeat([0, 1], 100)
    experts = [2] * 60 + [0] * 40 + [1] * 99 + [2]
    found = assigned(FILES, coarse, ["bad", "ok"], _routing(experts, coarse.tolist()), None)
    assert found.names == ("bad/1", "bad/2", "ok/1", "ok/2")
    assert [found.names[place] for place in found.subtype[[0, 99, 100, 199]]] == ["bad/1", "bad/2", "ok/1", "ok/2"]
    assert found.confidence.min() > 0.8


def test_cells_of_few_images_are_no_subtypes() -> None:
    coarse = np.repeat([0, 1], 100)
    experts = [0] * 100 + [1] * 100
    experts[150] = 2
    predicted = coarse.copy()
    # This image's cell is of the other coarse label.
    predicted[150] = 0
    found = assigned(FILES, coarse, ["bad", "ok"], _routing(experts, predicted.tolist()), None)
    assert found.names == ("bad/1", "ok/1")
    assert found.names[found.subtype[150]] == "ok/1"


def test_a_label_without_cells_has_one_subtype() -> None:
    coarse = np.repeat([0, 1], 100)
    predicted = np.zeros(200, np.int64)
    found = assigned(FILES, coarse, ["bad", "ok"], _routing([0] * 200, predicted.tolist()), None)
    assert found.names == ("bad/1", "ok/1")


def test_clusters_are_subtypes_without_a_model() -> None:
    found = of_clusters(np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1]), ["bad", "ok"])
    assert found.names == ("bad/1", "bad/2", "ok/1")
    assert found.subtype.tolist() == [0, 1, 2, 2]


def test_the_middle_is_most_typical() -> None:
    rows = np.array([[0.0], [1.0], [-1.0], [10.0], [50.0]], np.float32)
    found = typicality(rows, np.array([0, 0, 0, 0, 1]))
    assert found[3] == 0.25
    assert found[4] == 1
    assert found.max() == 1


def test_what_lies_far_out_is_an_outlier() -> None:
    distance = np.array([1.0, 1.1, 0.9, 1.2, 1.0, 9.0], np.float32)
    assert outliers(distance).tolist() == [False] * 5 + [True]
    assert not outliers(np.ones(4, np.float32)).any()


def test_the_table_is_read_back(tmp_path: Path) -> None:
    rows = [Row("a,b.png", "train", "ok", "ok/1", "ok/1", 0.5, 0.25, 1, "bad", "ü.png")]
    write_subtypes(tmp_path / "subtypes.csv", rows)
    assert read_subtypes(tmp_path / "subtypes.csv") == rows


def test_the_routing_of_a_run_is_read(tmp_path: Path) -> None:
    header = "file,class,coarse,log_probability_0,log_probability_1,routing_0,routing_1,routing_2"
    (tmp_path / "images.csv").write_text(f"{header}\na.png,,0,-0.1,-2.3,0.5,0.25,0.25\n")
    found = read_routing(tmp_path / "images.csv")
    assert (found.files, found.coarse.tolist()) == (["a.png"], [0])
    assert found.routing.tolist() == [[0.5, 0.25, 0.25]]


def test_subtypes_are_printed_as_a_table() -> None:
    found = of_clusters(np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1]), ["bad", "ok"])
    text = table_text(summaries(found, {"bad/1": ("bad/2", 1.25), "bad/2": ("bad/1", 1.25)}))
    assert text.splitlines() == [
        "label  subtype  images  sure  nearest other",
        "bad    bad/1         1  100%  bad/2 (distance 1.2)",
        "bad    bad/2         1  100%  bad/1 (distance 1.2)",
        "ok     ok/1          2  100%",
    ]
