import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.preparation import prepare
from clustnet.datasets import UNKNOWN, classes_of, load
from clustnet.datasets.folder import folder_classes, grey, load_folder
from clustnet.errors import UserError
from tests.image_folder import CLASSES, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "bars", train=4, test=2, reference=1)


def test_images_of_any_size_are_made_grey_and_resized(folder: Path) -> None:
    data = load_folder("test", folder)
    assert (data.images.dtype, data.images.shape) == (np.uint8, (4, 160, 160))
    with Image.open(folder / "test" / "left" / "left_000.png") as image:
        wanted = np.asarray(image.convert("L").resize((160, 160), Image.Resampling.BOX))
    np.testing.assert_array_equal(data.images[0], wanted)


def test_labels_are_the_places_of_the_reference_classes(folder: Path) -> None:
    assert classes_of("folder", folder) == CLASSES
    assert load_folder("test", folder).fine.tolist() == [0, 0, 1, 1]
    assert load_folder("reference", folder).fine.tolist() == [0, 1]


def test_training_images_need_no_classes_and_are_mixed_the_same_way_each_time(folder: Path) -> None:
    data, again = (load_folder("train", folder, grey(8, 8)) for _ in range(2))
    assert data.fine.tolist() == [UNKNOWN] * 8
    assert not data.labelled
    np.testing.assert_array_equal(data.images, again.images)
    sides = [image[:, :4].mean() > image[:, 4:].mean() for image in data.images]
    assert len(set(sides[:4])) == 2  # the files are sorted by side


def test_training_folders_named_for_classes_tell_labels_and_others_do_not(folder: Path) -> None:
    (folder / "train" / "right").mkdir()
    (folder / "train" / "left_000.png").rename(folder / "train" / "right" / "1.png")
    (folder / "train" / "holiday").mkdir()
    (folder / "train" / "left_001.jpg").rename(folder / "train" / "holiday" / "2.jpg")
    assert sorted(load_folder("train", folder, grey(8, 8)).labels.tolist()) == [UNKNOWN] * 7 + [1]


def test_a_test_split_without_classes_has_no_labels(folder: Path) -> None:
    for file in sorted((folder / "test").rglob("*.*")):
        file.rename(folder / "test" / file.name)
    for name in CLASSES:
        (folder / "test" / name).rmdir()
    assert load_folder("test", folder, grey(8, 8)).labels.tolist() == [UNKNOWN] * 4


def test_a_bundle_may_tell_classes_and_preparation(folder: Path) -> None:
    shutil.rmtree(folder / "reference")
    spec = InputSpec(shape=(28, 28), meaning="0 = paper, 255 = ink", preparation="mnist")
    data = load_folder("test", folder, spec, ("right", "left"))
    assert data.fine.tolist() == [1, 1, 0, 0]
    np.testing.assert_array_equal(data.images[0], prepare((folder / "test/left/left_000.png").read_bytes(), spec))


def test_statistics_are_those_of_the_pixels(folder: Path) -> None:
    data = load_folder("train", folder, grey(16, 16))
    assert data.mean[0] == pytest.approx(data.images.mean() / 255)
    assert data.std[0] == pytest.approx((data.images / 255).std())


def test_loads_by_specification_with_the_test_split_by_default(folder: Path) -> None:
    for spec, split, images in (("", "test", 4), (":test", "test", 4), (":train", "train", 8)):
        data = load(f"folder:{folder}{spec}")
        assert (data.name, data.split, len(data)) == ("folder", split, images)


def test_hidden_files_are_passed_over(folder: Path) -> None:
    (folder / "test" / "left" / ".DS_Store").write_bytes(b"?")
    (folder / "reference" / ".thumbnails").mkdir()
    assert len(load_folder("test", folder, grey(8, 8))) == 4


def _only_left(folder: Path) -> None:
    shutil.rmtree(folder / "reference" / "right")


def _empty_class(folder: Path) -> None:
    (folder / "reference" / "up").mkdir()


def _unknown_class(folder: Path) -> None:
    (folder / "reference" / "right").rename(folder / "reference" / "up")


def _unreadable(folder: Path) -> None:
    (folder / "test" / "left" / "notes.txt").write_text("no image")


def _cut_short(folder: Path) -> None:
    file = folder / "test" / "left" / "left_000.png"
    file.write_bytes(file.read_bytes()[:200])


def _bomb(folder: Path) -> None:
    """An image whose header says that it is of 60,000 x 60,000 pixels."""
    content = (folder / "test" / "left" / "left_000.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + content[24:29]
    (folder / "test" / "left" / "bomb.png").write_bytes(
        content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    )


def _loose_reference(folder: Path) -> None:
    shutil.copy(folder / "reference" / "left" / "left_000.png", folder / "reference" / "loose.png")


def _loose_test(folder: Path) -> None:
    shutil.copy(folder / "reference" / "left" / "left_000.png", folder / "test" / "loose.png")


def _without(split: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / split)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_only_left, r"reference holds one class only, 'left'; give two folders of images or more"),
        (_empty_class, r"reference/up is empty; put images of this class in, or remove it\.$"),
        (_unknown_class, r"test holds the class 'right', which is not among left, up; give it a folder in reference/"),
        (_unreadable, r"test/left/notes\.txt is not a PNG, JPEG, WebP or BMP image; fix or remove it\.$"),
        (_cut_short, r"test/left/left_000\.png is cut short or damaged; fix or remove it\.$"),
        (_bomb, r"test/left/bomb\.png has over 4096 pixels a side; fix or remove it\.$"),
        (_loose_reference, r"reference holds loose\.png beside its classes; put it into one of them\.$"),
        (_loose_test, r"test holds loose\.png beside its classes; put it into one of them\.$"),
        (_without("test"), r"has no folder test/; a folder of images has train/, test/ and reference/\.$"),
        (_without("reference"), r"has no folder reference/; "),
    ],
)
def test_a_bad_folder_says_why_in_a_sentence(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        load_folder("test", folder)
    assert str(folder) in str(error.value)


def test_a_folder_without_training_images_says_so(folder: Path) -> None:
    shutil.rmtree(folder / "train")
    with pytest.raises(UserError, match="has no folder train/"):
        load_folder("train", folder)
    (folder / "train").mkdir()
    with pytest.raises(UserError, match="train holds no images; put some in"):
        load_folder("train", folder)


def test_the_folder_must_be_named() -> None:
    for loads in (folder_classes, lambda path: load_folder("test", path, classes=CLASSES)):
        with pytest.raises(UserError, match="A folder of images has no default place; give it by --data folder:PATH"):
            loads(None)


def test_a_folder_that_lies_too_deep_is_named(folder: Path) -> None:
    deeper = next(path for path in (folder / "test").iterdir() if path.is_dir()) / "more"
    deeper.mkdir()
    with pytest.raises(UserError, match=f"{deeper} is a folder too deep; put its images into {deeper.parent}"):
        load_folder("test", folder)


def test_a_folder_that_cannot_be_listed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(UserError, match=r"The folder .* cannot be read \(Permission denied\); fix or remove it"):
        load_folder("train", folder)
