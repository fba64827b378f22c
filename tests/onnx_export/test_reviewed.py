from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clustnet.corrections.actions import parse
from clustnet.corrections.session import Session
from clustnet.corrections.state import Subtype
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from onnx_export.reviewed import Reviewed, load_reviewed, subtypes_of_review
from tests.review.runs import LABELS, write_run
from training.discover.collection import Collection
from training.discover.found import found_by_discover
from training.models.inference import Routed

# Three experts and two coarse labels, ten images in each of five cells; the sixth is out of use.
CELLS = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]
IDS = ["a/1", "a/2", "a/3", "b/1", "b/2"]


def data() -> tuple[Routed, LabelledImages]:
    expert, coarse = np.repeat(CELLS, 10, axis=0).T
    routing = np.eye(3, dtype=np.float32)[expert]
    probability = np.repeat(np.eye(2, dtype=np.float32)[coarse][:, None], 3, axis=1)
    images = np.zeros((50, 4, 4), np.uint8)
    labelled = LabelledImages("x", "train", images, coarse, ("a", "b"), np.full(50, -1), (), (0.0,), (1.0,))
    return Routed(routing, probability, routing), labelled


def reviewed(ids: Sequence[str], of: NDArray[np.int64], names: dict[str, str] | None = None) -> Reviewed:
    return Reviewed([Subtype(name, name[0], (names or {}).get(name, "")) for name in ids], of)


def test_nothing_changed_is_the_identity() -> None:
    made, notes = subtypes_of_review(*data(), reviewed(IDS, np.repeat(np.arange(5), 10)))
    assert [one.name for one in made.subtypes] == IDS
    values = made.class_map.array()
    for place, cell in enumerate(CELLS):
        np.testing.assert_array_equal(values[cell], np.eye(5)[place])
    np.testing.assert_allclose(values[2, 1], [0, 0, 0, 0.5, 0.5])
    assert notes == []


def test_merged_cells_share_a_named_subtype() -> None:
    of = np.repeat([0, 0, 1, 2, 3], 10)
    made, _ = subtypes_of_review(*data(), reviewed(["a/1", "a/3", "b/1", "b/2"], of, {"a/1": "grey coat"}))
    assert [(one.name, one.named) for one in made.subtypes][:2] == [("grey coat", True), ("a/3", False)]
    values = made.class_map.array()
    np.testing.assert_array_equal(values[0, 0], values[1, 0])
    np.testing.assert_allclose(values.sum(axis=2), 1)


def test_a_cell_follows_most_of_its_images() -> None:
    of = np.repeat(np.arange(5), 10)
    # Four images of a cell are left out, and of the others most have moved.
    of[:4], of[4:9] = -1, 2
    made, notes = subtypes_of_review(*data(), reviewed(IDS, of))
    assert made.class_map.array()[0, 0].argmax() == [one.name for one in made.subtypes].index("a/3")
    assert [one.name for one in made.subtypes] == ["a/2", "a/3", "b/1", "b/2"]
    assert notes[0].startswith("the model cannot yet tell apart: a/1 (1 training image)")


def test_a_label_without_subtypes_is_refused() -> None:
    of = np.repeat([0, 1, 2, -1, -1], 10)
    with pytest.raises(UserError, match="no subtype of the coarse label 'b' is known"):
        subtypes_of_review(*data(), reviewed(IDS, of))


def test_the_review_reaches_training_images(tmp_path: Path) -> None:
    run = write_run(tmp_path, 24)
    files = [image.image for image in Collection.of(run).images][::-1]
    zeros = np.zeros(24, np.int64)
    images = np.zeros((24, 4, 4), np.uint8)
    train = LabelledImages("folder", "train", images, zeros, LABELS, zeros - 1, (), (0.0,), (1.0,), tuple(files))
    assert load_reviewed(run, train, None) is None
    session = Session(run, found_by_discover(run))
    session.do([parse({"verb": "merge", "subtypes": ["vehicles/2", "vehicles/1"]})])
    session.do([parse({"verb": "mark", "files": ["animals/00000.jpg"], "mark": "outlier"})])
    found = load_reviewed(run, train, None)
    assert found is not None
    assert [one.id for one in found.subtypes] == ["animals/1", "animals/2", "vehicles/2"]
    assert found.of.tolist() == [2] * 12 + [1] * 6 + [0] * 5 + [-1]
    assert found.take(np.array([0, 23])).of.tolist() == [2, -1]
