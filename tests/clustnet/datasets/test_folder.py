import os
import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clustnet.bundles.bundle import InputSpec, read_manifest
from clustnet.bundles.groups import ALL, CoarseGrouping
from clustnet.bundles.preparation import prepare
from clustnet.datasets import UNKNOWN, classes_of, load
from clustnet.datasets.folder import FolderNames, channel_statistics, folder_input, folder_names, load_folder
from clustnet.errors import UserError
from tests.clustnet.datasets.made_up import system_files, write_images
from tests.synthetic import write_bundle

GREY = InputSpec(shape=(8, 8), meaning="grey, 0 to 255", preparation="fit")
NAMED = {
    "train/ok": 3,
    "train/defect/may": 2,
    "test/ok": 1,
    "test/defect/dent": 2,
    "reference/ok/plain": 1,
    "reference/defect/dent": 1,
    "reference/defect/scratch": 1,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", NAMED)


def test_coarse_labels_come_with_the_folders(folder: Path) -> None:
    train, test, reference = (load_folder(split, folder, GREY) for split in ("train", "test", "reference"))
    assert {data.coarse_labels for data in (train, test, reference)} == {("defect", "ok")}
    assert {data.classes for data in (train, test, reference)} == {("defect/dent", "defect/scratch", "ok/plain")}
    assert sorted(train.coarse.tolist()) == [0, 0, 1, 1, 1]
    assert train.fine.tolist() == [UNKNOWN] * 5
    assert (test.coarse.tolist(), test.fine.tolist()) == ([0, 0, 1], [0, 0, UNKNOWN])
    assert (reference.coarse.tolist(), reference.fine.tolist()) == ([0, 0, 1], [0, 1, 2])
    assert [data.labelled for data in (train, test, reference)] == [False, False, True]
    assert (train.coarse.dtype, train.fine.dtype) == (np.int64, np.int64)


@pytest.mark.parametrize(
    ("counts", "labels"),
    [
        ({"a": 1, "b": 2, "c/deep/er": 1}, ("a", "b", "c")),
        ({"a": 1, "b/x": 1, "b/y": 1}, ("a", "b")),
        ({"parts/new": 2, "parts": 1}, ("parts",)),
        ({"": 3}, (ALL,)),
    ],
)
def test_coarse_labels_alone_are_enough(tmp_path: Path, counts: dict[str, int], labels: tuple[str, ...]) -> None:
    data = load(f"folder:{write_images(tmp_path, counts)}")
    assert (data.name, data.split, data.coarse_labels, data.classes) == ("folder", "train", labels, ())
    assert data.images.shape == (sum(counts.values()), 160, 160, 3)
    assert data.fine.tolist() == [UNKNOWN] * len(data)
    assert not data.labelled
    assert data.files is not None
    own = [Path(file).parts[0] if labels != (ALL,) else ALL for file in data.files]
    assert [labels[index] for index in data.coarse] == own


@pytest.mark.parametrize("split", ["train", "test", "reference"])
def test_files_stay_with_their_images(folder: Path, split: str) -> None:
    data = load_folder(split, folder, GREY)
    assert data.files is not None
    assert sorted(data.files) == sorted(file.relative_to(folder).as_posix() for file in (folder / split).rglob("*.png"))
    for image, file in zip(data.images, data.files, strict=True):
        np.testing.assert_array_equal(image, prepare((folder / file).read_bytes(), GREY))
    some = data.take(np.array([2, 0]))
    assert some.files == (data.files[2], data.files[0])
    assert data.first(1).files == data.files[:1]


def test_training_images_are_shuffled_reproducibly(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"a": 10, "b": 10})
    data, again = (load_folder("train", folder, GREY) for _ in range(2))
    np.testing.assert_array_equal(data.images, again.images)
    assert data.files == again.files
    assert len(set(data.coarse[:8].tolist())) == 2
    write_images(tmp_path, {"test/a": 10, "test/b": 10})
    assert load_folder("test", folder, GREY).coarse.tolist() == [0] * 10 + [1] * 10


@pytest.mark.parametrize(
    ("mapping", "labels", "coarse"),
    [
        ({"pets": ["cat", "dog"], "ships": ["ship"]}, ("pets", "ships"), {"cat": 0, "dog": 0, "ship": 1}),
        ({"a": [2], "b": [0], "c": [1]}, ("a", "b", "c"), {"cat": 1, "dog": 2, "ship": 0}),
        ({"things": ["ship", 0, 1]}, ("things",), {"cat": 0, "dog": 0, "ship": 0}),
    ],
)
@pytest.mark.parametrize("reference", [True, False])
def test_sub_folders_may_be_grouped_classes(
    tmp_path: Path, mapping: dict[str, Any], labels: tuple[str, ...], coarse: dict[str, int], reference: bool
) -> None:
    folder = write_images(tmp_path, {f"train/{name}": 2 for name in coarse})
    if reference:
        write_images(tmp_path, {f"reference/{name}": 1 for name in coarse})
    assert classes_of("folder", folder) == ("cat", "dog", "ship")
    data = load_folder("train", folder, GREY, folder_names(folder, given=False))
    assert (data.coarse_labels, data.labelled) == ((ALL,), True)
    grouped = data.grouped(CoarseGrouping.from_mapping(mapping, data.classes))
    assert grouped.coarse_labels == labels
    assert grouped.files is not None
    assert grouped.coarse.tolist() == [coarse[Path(file).parts[1]] for file in grouped.files]


def test_grouping_needs_every_class(folder: Path) -> None:
    data = load_folder("train", folder, GREY)
    with pytest.raises(UserError, match="but the class of 5 train images is unknown; sort every image into a folder"):
        data.grouped(CoarseGrouping(("a", "b"), ((0,), (1, 2))))
    whole = data.grouped(CoarseGrouping.whole(3))
    assert (whole.coarse_labels, whole.coarse.tolist()) == ((ALL,), [0] * 5)


def test_loose_test_images_have_no_labels(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"train/a": 1, "train/b": 1, "test": 2})
    assert load_folder("test", folder, GREY).coarse.tolist() == [UNKNOWN] * 2
    shutil.rmtree(folder / "train" / "b")
    assert load_folder("test", folder, GREY).coarse.tolist() == [0] * 2


def test_a_bundle_decides_classes_and_preparation(tmp_path: Path) -> None:
    manifest = read_manifest(write_bundle(tmp_path / "bundle") / "manifest.json")
    folder = write_images(tmp_path / "images", {"test/7": 2, "test/0-4/3": 1, "test/5-9": 1})
    data = load_folder("test", folder, manifest.input, FolderNames.from_manifest(manifest))
    assert (data.coarse_labels, data.classes) == (manifest.coarse_labels, manifest.class_names)
    assert data.files == ("test/0-4/3/0.png", "test/5-9/0.png", "test/7/0.png", "test/7/1.png")
    assert (data.coarse.tolist(), data.fine.tolist()) == ([0, 1, 1, 1], [3, UNKNOWN, 7, 7])
    np.testing.assert_array_equal(data.images[0], prepare((folder / data.files[0]).read_bytes(), manifest.input))


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "bmp"])
@pytest.mark.parametrize("coloured", [True, False])
def test_colour_is_kept_where_there_is_any(tmp_path: Path, extension: str, coloured: bool) -> None:
    folder = write_images(tmp_path, {"train/a": 2, "train/b": 1}, colour=False, extension=extension)
    write_images(tmp_path, {"test/a": 1})
    if coloured:
        Image.new("RGB", (9, 9), "red").save(folder / "train" / "b" / f"red.{extension}")
    spec = folder_input(folder, (16, 20))
    assert spec.colour == coloured
    assert spec.shape == ((16, 20, 3) if coloured else (16, 20))
    assert load_folder("test", folder).images.shape == ((1, 160, 160, 3) if coloured else (1, 160, 160))
    for colour in (True, False):
        assert folder_input(folder, colour=colour).colour == colour


def test_without_training_images_others_show_colour(tmp_path: Path) -> None:
    assert load_folder("test", write_images(tmp_path, {"test/a": 2})).images.shape == (2, 160, 160, 3)


def test_transparent_and_deep_grey_stay_grey(tmp_path: Path) -> None:
    Image.fromarray(np.arange(0, 60_000, 100, dtype=np.uint16).reshape(20, 30)).save(tmp_path / "deep.png")
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    data = load_folder("train", tmp_path)
    assert data.images.shape == (2, 160, 160)
    assert sorted(image.mean() for image in data.images)[1] == 255


@pytest.mark.parametrize(("preparation", "aspect"), [("fit", "crop"), ("fit", "pad"), ("resize", "crop")])
def test_the_input_says_how_images_are_prepared(tmp_path: Path, preparation: Any, aspect: Any) -> None:
    folder = write_images(tmp_path, {"": 1})
    spec = folder_input(folder, (12, 10), True, preparation, aspect)
    assert (spec.preparation, spec.aspect, spec.meaning) == (preparation, aspect, "RGB, 0 to 255")
    assert load_folder("train", folder, spec).images.shape == (1, 12, 10, 3)


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 3), (1, 1, 1)])
def test_statistics_are_those_of_the_pixels(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    mean, std = channel_statistics(images)
    planes = images.reshape(shape[0], -1, shape[3] if len(shape) == 4 else 1) / 255
    assert mean == pytest.approx(planes.mean(axis=(0, 1)))
    assert std == pytest.approx(np.maximum(planes.std(axis=(0, 1)), 1 / 255))


@pytest.mark.parametrize("channels", [(), (3,)])
def test_statistics_do_not_copy_the_images(channels: tuple[int, ...]) -> None:
    images = np.zeros((200, 64, 64, *channels), np.uint8)
    tracemalloc.start()
    channel_statistics(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes / 2


def test_the_test_split_is_the_default(folder: Path) -> None:
    for spec, split, images in (("", "test", 3), (":test", "test", 3), (":train", "train", 5)):
        data = load(f"folder:{folder}{spec}")
        assert (data.name, data.split, len(data)) == ("folder", split, images)


def test_system_files_are_not_loaded(folder: Path) -> None:
    for place in (folder, folder / "test", folder / "test" / "ok", folder / "reference"):
        system_files(place)
    assert len(load_folder("test", folder, GREY)) == 3


def _text(file: Path) -> None:
    file.write_text("no image")


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def _bomb(file: Path) -> None:
    """Write an image whose header says that it has 60,000 x 60,000 pixels."""
    content = file.read_bytes()
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + content[24:29]
    file.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])


def _huge(file: Path) -> None:
    with file.open("ab") as stream:
        stream.truncate(64 * 2**20 + 1)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _broken_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_text, "is not a PNG, JPEG, WebP or BMP image; convert or remove it"),
        (_cut, "is cut short or damaged; fix or remove it"),
        (_bomb, "has more than 4096 pixels on a side; make it smaller or remove it"),
        (_huge, "is larger than 64 MiB; make it smaller or remove it"),
        (_pipe, "is not a file; remove it"),
        (_broken_link, "is a broken link; fix or remove it"),
    ],
)
def test_a_bad_file_is_named(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    file = folder / "test" / "ok" / "0.png"
    spoil(file)
    with pytest.raises(UserError, match=rf"{file} {message}\.$"):
        load_folder("test", folder, GREY)


def test_all_bad_files_are_counted(folder: Path) -> None:
    for number in range(12):
        (folder / "train" / "ok" / f"bad_{number:02}.png").write_text("no image")
    (folder / "train" / "defect" / "cut.png").symlink_to("nowhere.png")
    with pytest.raises(UserError) as error:
        load_folder("train", folder, GREY)
    message = str(error.value)
    assert message.startswith(f"13 files cannot be used: The file {folder}/train/defect/cut.png is a broken link;")
    assert f"{folder}/train/ok/bad_08.png is not a PNG" in message
    assert "bad_09" not in message
    assert message.endswith(" and 3 more.")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a.JPG", "a", "a.tmp.png"])
def test_names_of_images_may_end_in_anything(tmp_path: Path, name: str) -> None:
    folder = write_images(tmp_path, {"test/ok": 1})
    Image.new("RGB", (9, 9), "red").save(folder / name, "JPEG")
    # Beside the folders of splits only what is an image is trained on.
    data = load_folder("train", folder, GREY)
    assert data.files == (name,)


def test_folders_that_are_not_utf_8_are_loaded(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"ok": 1, os.fsdecode(b"caf\xe9"): 2})
    data = load_folder("train", folder, GREY)
    assert data.coarse_labels == ("caf\\xe9", "ok")
    assert sorted(data.coarse.tolist()) == [0, 0, 1]
    data.coarse_labels[0].encode()


def test_bad_files_are_named_in_ascii(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"ok": 1})
    (folder / "ok" / os.fsdecode(b"caf\xe9.png")).write_text("no image")
    with pytest.raises(UserError, match=r"ok/caf\\xe9\.png is not a PNG") as error:
        load_folder("train", folder, GREY)
    str(error.value).encode()


def test_both_forms_of_unicode_are_one_label(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"train/caf\u00e9": 2, "train/cafe\u0301": 1, "train/ok": 1, "test/cafe\u0301": 1})
    data = load_folder("train", folder, GREY)
    assert data.coarse_labels == ("caf\u00e9", "ok")
    assert sorted(data.coarse.tolist()) == [0, 0, 0, 1]
    assert load_folder("test", folder, GREY).coarse.tolist() == [0]


def test_a_bad_training_file_is_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"train/defect/may": 2}, colour=False)
    file = folder / "train" / "defect" / "may" / "0.png"
    _text(file)
    with pytest.raises(UserError, match=f"{file} is not a PNG"):
        folder_input(folder)


def test_a_split_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} holds no images; put some in"):
        load_folder("train", tmp_path)
    with pytest.raises(UserError, match="has no folder test/"):
        load_folder("test", tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="train holds no images; put some in"):
        load_folder("train", tmp_path)


def test_an_unknown_folder_is_refused(folder: Path) -> None:
    write_images(folder, {"test/other": 1})
    with pytest.raises(UserError, match="test holds the folder 'other', which is not among defect, ok, defect/dent"):
        load_folder("test", folder, GREY)
