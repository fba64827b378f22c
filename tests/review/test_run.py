import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustnet.errors import UserError
from review.pictures import LARGE, SMALL
from review.run import open_run
from tests.image_folder import write_coarse_folder
from tests.review.runs import write_run
from training.data.data import load_split
from training.discover.routed import found_by_routing
from training.models.inference import Routed
from training.recipe.reading import validated
from training.runs.run_folder import RunFolder


def test_a_discovered_run_is_read(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "photos"))
    assert (run.title, len(run.rows), run.space.shape) == ("photos", 60, (60, 4))
    assert [one.id for one in run.found.subtypes] == ["animals/1", "animals/2", "vehicles/1", "vehicles/2"]


def test_small_pictures_are_kept(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path))
    assert run.pictures
    content = run.pictures.jpeg(3, SMALL)
    assert Image.open(io.BytesIO(content)).size == (24, 24)
    assert [path.read_bytes() for path in (tmp_path / ".review" / "small").iterdir()] == [content]
    assert run.pictures.jpeg(3, SMALL) == content
    Image.new("RGB", (2000, 1000)).save(tmp_path / "images" / "train" / run.rows[3].file)
    assert [Image.open(io.BytesIO(run.pictures.jpeg(3, side))).size for side in (SMALL, LARGE)] == [
        (160, 80),
        (800, 400),
    ]


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "subtypes.csv").unlink()
    (tmp_path / "discover.json").write_text("{}")
    with pytest.raises(UserError, match="is not finished; run 'clustnet discover' with the same arguments"):
        open_run(tmp_path)
    (tmp_path / "discover.json").unlink()
    with pytest.raises(UserError, match="is not a run"):
        open_run(tmp_path)


def trained(run: Path, data: Path) -> RunFolder:
    """Write a run of another method as it is after its last epoch."""
    recipe = validated({"method": "clustnet", "data": {"name": "folder", "path": str(data)}}, "the test")
    folder = RunFolder(run)
    folder.begin(recipe, resume=False)
    folder.save_checkpoint(1, {})
    train = load_split(recipe.data, "train")
    expert = np.arange(len(train)) % 2
    routing = np.where(np.eye(2)[expert] == 1, 0.9, 0.1).astype(np.float32)
    coarse = np.eye(len(train.coarse_labels), dtype=np.float32)[train.coarse]
    folder.write_images(1, train, Routed(routing, np.repeat(coarse[:, None], 2, axis=1), routing))
    return folder


def test_a_run_of_any_method_is_read(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", write_coarse_folder(tmp_path / "data"))
    run = open_run(folder.path)
    train = load_split(folder.recipe().data, "train")
    assert {one.coarse for one in run.found.subtypes} == set(train.coarse_labels)
    assert run.found.digest() == found_by_routing(folder, train, None).digest()
    assert run.space.shape[0] == len(train) == len(run.rows)
    assert np.allclose([row.confidence for row in run.rows], 0.9)
    assert run.pictures
    assert run.pictures.jpeg(0, SMALL).startswith(b"\xff\xd8")
    # The second time nothing is computed.
    kept = next((tmp_path / "run" / ".review").glob("epoch_*"))
    before = (kept / "space.npy").stat().st_mtime_ns
    assert open_run(folder.path).rows == run.rows
    assert (kept / "space.npy").stat().st_mtime_ns == before


def test_images_without_files_are_shown(tmp_path: Path) -> None:
    data = {"name": "mnist", "train_images": 60, "test_images": 20}
    coarse = {"0-4": list(range(5)), "5-9": list(range(5, 10))}
    recipe = validated({"method": "clustnet", "data": data | {"coarse": coarse}}, "the test")
    folder = RunFolder(tmp_path / "run")
    folder.begin(recipe, resume=False)
    folder.save_checkpoint(1, {})
    for split in ("train", "test"):
        images = load_split(recipe.data, split)
        assert images is not None
        routing = np.where(np.eye(2)[np.arange(len(images)) % 2] == 1, 0.9, 0.1).astype(np.float32)
        expert = np.repeat(np.eye(2, dtype=np.float32)[images.coarse][:, None], 2, axis=1)
        folder.write_images(1, images, Routed(routing, expert, routing))
    run = open_run(folder.path)
    assert [row.file for row in run.rows][59:61] == ["train/59", "test/0"]
    assert {row.split for row in run.rows[60:]} == {"test"}
    assert run.pictures
    shown = np.asarray(Image.open(io.BytesIO(run.pictures.jpeg(60, SMALL))).resize((28, 28)), int)
    assert np.abs(shown - load_split(recipe.data, "test").images[0]).mean() < 20
    with Image.open(run.pictures.put(60, tmp_path / "first")) as image:
        assert image.size == (28, 28)
