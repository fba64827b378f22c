import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustnet.datasets.multi_label import load_multi_label
from clustnet.errors import UserError


def picture(width: int, height: int, shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), (shade,) * 3).save(content, "JPEG")
    return content.getvalue()


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Two training images and one test image of two classes, in VOC's own layout."""
    for folder in ("ImageSets/Main", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True)
    for number, name in enumerate(("000005", "000007", "000012")):
        (tmp_path / "JPEGImages" / f"{name}.jpg").write_bytes(picture(50, 40 + 10 * number, 60 * number))
    lists = tmp_path / "ImageSets" / "Main"
    (lists / "cat_trainval.txt").write_text("000005  1\n000007 -1\n")
    (lists / "dog_trainval.txt").write_text("000005 -1\n000007  0\n")
    (lists / "cat_test.txt").write_text("000012 -1\n")
    (lists / "dog_test.txt").write_text("000012  1\n")
    # Without a class in its name.
    (lists / "trainval.txt").write_text("000005\n000007\n")
    return tmp_path


def test_voc_is_read_from_its_folder(voc: Path) -> None:
    train, test = (load_multi_label("voc2007", split, voc, 20) for split in ("train", "test"))
    assert (train.classes, train.labels.tolist(), test.labels.tolist()) == (("cat", "dog"), [[1, 0], [0, -1]], [[0, 1]])
    assert [image.shape for image in (*train.images, *test.images)] == [(20, 25, 3), (20, 20, 3), (24, 20, 3)]
    assert [int(image.mean()) for image in train.images] == [0, 60]


def test_coco_is_read_from_an_archive(tmp_path: Path) -> None:
    images = [picture(30, 20, 10), picture(20, 40, 90)]
    arrays = {
        "jpeg": np.frombuffer(b"".join(images), np.uint8),
        "offset": np.cumsum([0, *map(len, images)]),
        "labels": np.array([[1, 0, 1], [0, 0, 0]], np.uint8),
        "is_val": np.array([0, 1]),
        "class_names": np.array(["person", "bicycle", "car"]),
    }
    np.savez(tmp_path / "coco.npz", **arrays)
    train, test = (load_multi_label("coco256", split, tmp_path / "coco.npz", 10) for split in ("train", "test"))
    assert (train.labels.tolist(), test.labels.tolist()) == ([[1, 0, 1]], [[0, 0, 0]])
    assert (train.images[0].shape, test.images[0].shape) == ((10, 15, 3), (20, 10, 3))
    np.savez(tmp_path / "coco.npz", **(arrays | {"labels": np.full((2, 3), 7)}))
    with pytest.raises(UserError, match="expected 0 or 1 for each image and class"):
        load_multi_label("coco256", "train", tmp_path / "coco.npz", 10)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("ImageSets/Main/dog_trainval.txt", "000005 2\n000007 1\n", "expected IMAGE and 1, 0 or -1"),
        ("ImageSets/Main/dog_trainval.txt", "../../000005 1\n000007 1\n", "expected IMAGE and 1, 0 or -1"),
        ("ImageSets/Main/dog_trainval.txt", "000005 1\n", "list different images"),
        ("JPEGImages/000007.jpg", "no image", "The image 000007 of .* cannot be read"),
    ],
)
def test_what_is_wrong_is_said(voc: Path, file: str, content: str, message: str) -> None:
    (voc / file).write_text(content)
    with pytest.raises(UserError, match=message):
        load_multi_label("voc2007", "train", voc, 20)


def test_another_folder_is_refused(voc: Path) -> None:
    with pytest.raises(UserError, match=r"is not VOC: expected ImageSets/Main/CLASS_trainval\.txt"):
        load_multi_label("voc2007", "train", voc / "JPEGImages", 20)
    with pytest.raises(UserError, match="needs the path to its files"):
        load_multi_label("voc2007", "train", None, 20)
