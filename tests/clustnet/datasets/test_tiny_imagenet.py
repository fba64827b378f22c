import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustnet.datasets import classes_of, load
from clustnet.datasets.tiny_imagenet import load_tiny_imagenet
from clustnet.errors import UserError
from training.recipe.reading import validated

DATA = Path(os.environ.get("CLUSTNET_TEST_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
REAL = DATA / "tiny-imagenet-subset" / "tiny_imagenet_subset.npz"
WNIDS = ("n01443537", "n01629819", "n02123045")


def picture(shade: int, side: int = 64, mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, (side, side), (shade,) * 3 if mode == "RGB" else shade).save(content, "JPEG")
    return content.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The original layout: three classes of two training images, three validation images, one of a class apart."""
    for label, name in enumerate(WNIDS):
        images = tmp_path / "train" / name / "images"
        images.mkdir(parents=True)
        for number in range(2):
            (images / f"{name}_{number}.JPEG").write_bytes(picture(40 * label + number))
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("")
    (tmp_path / "val" / "images").mkdir(parents=True)
    lines = []
    for number, name in enumerate([WNIDS[2], "n09999999", WNIDS[0]]):
        (tmp_path / "val" / "images" / f"val_{number}.JPEG").write_bytes(picture(100 + number, mode="L"))
        lines.append(f"val_{number}.JPEG\t{name}\t0\t32\t44\t62")
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def archive(path: Path, **changes: np.ndarray) -> Path:
    images = [picture(shade) for shade in (10, 50, 90, 130)]
    arrays = {
        "jpeg": np.frombuffer(b"".join(images), np.uint8),
        "offset": np.cumsum([0, *map(len, images)]).astype(np.uint32),
        "label": np.array([0, 0, 1, 1], np.uint8),
        "is_val": np.array([0, 0, 0, 1], np.uint8),
        "wnid": np.array(WNIDS[:2]),
    }
    np.savez(path / "tiny.npz", **(arrays | changes))
    return path / "tiny.npz"


def test_the_original_folder_is_read(folder: Path) -> None:
    train, test = load_tiny_imagenet("train", folder), load_tiny_imagenet("test", folder)
    assert (train.classes, train.images.shape) == (WNIDS, (6, 64, 64, 3))
    # The first of each class, then the second.
    assert train.fine.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(train.images.mean(axis=(1, 2, 3)), [0, 40, 80, 1, 41, 81], atol=1)
    assert test.fine.tolist() == [2, 0]
    np.testing.assert_allclose(test.images.mean(axis=(1, 2, 3)), [100, 102], atol=1)


def test_an_archive_is_read(tmp_path: Path) -> None:
    path = archive(tmp_path)
    train, test = load(f"tiny_imagenet:{path}:train"), load(f"tiny_imagenet:{path}:test")
    assert (train.fine.tolist(), test.fine.tolist()) == ([0, 1, 0], [1])
    np.testing.assert_allclose(train.images.mean(axis=(1, 2, 3)), [10, 90, 50], atol=1)
    assert classes_of("tiny_imagenet", path) == WNIDS[:2]


def test_classes_can_be_grouped(folder: Path) -> None:
    groups = {"fish": [WNIDS[0]], "others": [1, 2]}
    recipe = validated({"data": {"name": "tiny_imagenet", "path": str(folder), "coarse": groups}}, "test")
    grouping = recipe.data.grouping(classes_of("tiny_imagenet", folder))
    assert grouping is not None
    assert load_tiny_imagenet("train", folder).grouped(grouping).coarse.tolist() == [0, 1, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("coarse", "message"),
    [
        ("given", "tiny_imagenet comes without coarse labels; group its classes"),
        ({"fish": ["n00000000"], "others": [1, 2]}, "n00000000"),
    ],
)
def test_groups_of_other_classes_are_refused(folder: Path, coarse: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        validated({"data": {"name": "tiny_imagenet", "path": str(folder), "coarse": coarse}}, "test")


def test_annotations_do_not_lead_out(folder: Path) -> None:
    (folder / "val" / "val_annotations.txt").write_text(f"../../secret.JPEG\t{WNIDS[0]}\t0\t0\t1\t1\n")
    with pytest.raises(UserError, match="expected FILE, WordNet ID and box"):
        load_tiny_imagenet("test", folder)


def test_what_is_missing_or_damaged_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not part of this repository"):
        load_tiny_imagenet("train")
    with pytest.raises(UserError, match="is not Tiny ImageNet: expected train/nXXXXXXXX/images/"):
        load_tiny_imagenet("train", folder / "val")
    image = next((folder / "train" / WNIDS[0] / "images").glob("*"))
    image.write_bytes(picture(0, side=32))
    with pytest.raises(UserError, match="is not 64x64"):
        load_tiny_imagenet("train", folder)
    image.write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be decoded"):
        load_tiny_imagenet("train", folder)
    (folder / "val" / "val_annotations.txt").unlink()
    with pytest.raises(UserError, match="it names the class of each image"):
        load_tiny_imagenet("test", folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.array([0, 0, 1, 7], np.uint8)}, "labels that do not fit its 2 classes"),
        ({"offset": np.array([0, 5, 9, 11, 12], np.uint32)}, "an image that cannot be decoded"),
        ({"is_val": np.ones(4, np.uint8)}, "holds no train images"),
    ],
)
def test_an_archive_of_another_form_is_refused(tmp_path: Path, changes: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_tiny_imagenet("train", archive(tmp_path, **changes))


@pytest.mark.skipif(not REAL.is_file(), reason="needs tiny-imagenet-subset below CLUSTNET_TEST_DATA")
def test_the_real_archive_holds_its_classes() -> None:
    test = load_tiny_imagenet("test", REAL)
    assert (len(test), len(test.classes)) == (7400, 148)
    assert np.bincount(test.fine).tolist() == [50] * 148
    np.testing.assert_allclose(test.images.mean(axis=(0, 1, 2)) / 255, test.mean, atol=0.02)
