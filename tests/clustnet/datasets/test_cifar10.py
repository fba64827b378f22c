import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustnet.datasets.cifar10 import CLASSES, load_cifar10
from clustnet.errors import UserError

DATA = Path(os.environ.get("CLUSTNET_TEST_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
REAL = DATA / "cifar10" / "cifar10_jpeg.npz"
COUNT = 20


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    return np.arange(COUNT) % 10


def _write_binary(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """The layout of the published binary version: a label byte, then red, green and blue planes."""
    folder.mkdir()
    records = b"".join(
        bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
        for image, label in zip(images, labels, strict=True)
    )
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        (folder / name).write_bytes(records)
    return folder


def _write_folders(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "test" / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index:04}.png")
    return folder


def _jpegs(images: np.ndarray) -> list[bytes]:
    contents = []
    for image in images:
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG", quality=95)
        contents.append(content.getvalue())
    return contents


def test_binary_version(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder = _write_binary(tmp_path / "cifar", images, labels)
    test, train = load_cifar10("test", folder), load_cifar10("train", folder)
    np.testing.assert_array_equal(test.images, images)
    np.testing.assert_array_equal(test.fine, labels)
    np.testing.assert_array_equal(train.fine, np.tile(labels, 5))
    assert (test.classes, test.fine.dtype) == (CLASSES, np.int64)
    assert (test.coarse_labels, test.coarse.tolist()) == (("all",), [0] * COUNT)


def test_image_folders(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder = _write_folders(tmp_path / "cifar", images, labels)
    (folder / "test" / "bird" / ".DS_Store").write_bytes(b"?")
    data = load_cifar10("test", folder)
    order = np.argsort(labels, kind="stable")
    np.testing.assert_array_equal(data.images, images[order])
    np.testing.assert_array_equal(data.fine, labels[order])


def test_npz_of_arrays(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    path = tmp_path / "cifar.npz"
    column = labels[:, None].astype(np.uint8)  # as Keras lays labels out
    np.savez(path, x_train=images, y_train=column, x_test=images[:5], y_test=column[:5])
    np.testing.assert_array_equal(load_cifar10("train", path).fine, labels)
    np.testing.assert_array_equal(load_cifar10("test", path).images, images[:5])


def test_npz_of_jpegs(tmp_path: Path, images: np.ndarray, labels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clustnet.datasets.cifar10.TRAIN_IMAGES", 15)
    path = _write_jpeg_npz(tmp_path / "cifar.npz", _jpegs(images), labels)
    train, test = load_cifar10("train", path), load_cifar10("test", path)
    np.testing.assert_array_equal(train.fine, labels[:15])
    np.testing.assert_array_equal(test.fine, labels[15:])
    decoded = [np.asarray(Image.open(io.BytesIO(content))) for content in _jpegs(images)[15:]]
    np.testing.assert_array_equal(test.images, decoded)


def _write_jpeg_npz(path: Path, contents: list[bytes], labels: np.ndarray) -> Path:
    offsets = np.cumsum([0, *map(len, contents)])
    np.savez(path, jpeg=np.frombuffer(b"".join(contents), np.uint8), offset=offsets, label=labels)
    return path


def test_no_path_is_refused() -> None:
    with pytest.raises(UserError, match="name its folder or"):
        load_cifar10("test")


def test_pickled_version_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": []}))
    with pytest.raises(UserError, match="pickled version, which is not read; get the binary version"):
        load_cifar10("test", tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not CIFAR-10: expected an \.npz file"):
        load_cifar10("test", tmp_path)


def test_a_missing_batch_is_named(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder = _write_binary(tmp_path / "cifar", images, labels)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(UserError, match=r"lacks data_batch_3\.bin"):
        load_cifar10("train", folder)


def test_a_cut_batch_is_refused(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder = _write_binary(tmp_path / "cifar", images, labels)
    content = (folder / "test_batch.bin").read_bytes()
    (folder / "test_batch.bin").write_bytes(content[:-7])
    with pytest.raises(UserError, match="are cut short"):
        load_cifar10("test", folder)


def test_labels_beyond_nine_are_refused(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(UserError, match="labels outside 0 to 9"):
        load_cifar10("test", _write_binary(tmp_path / "cifar", images, labels + 1))


def test_a_broken_image_file_is_named(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder = _write_folders(tmp_path / "cifar", images, labels)
    broken = folder / "test" / "bird" / "0002.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=r"bird/0002\.png cannot be decoded; fix or remove it"):
        load_cifar10("test", folder)


def test_an_image_file_of_another_size_is_named(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder = _write_folders(tmp_path / "cifar", images, labels)
    Image.new("RGB", (40, 32)).save(folder / "test" / "ship" / "large.png")
    with pytest.raises(UserError, match=r"ship/large\.png is not 32x32"):
        load_cifar10("test", folder)


def _not_a_zip(path: Path) -> None:
    path.write_bytes(b"no zip at all")


def _a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"x_test": 1}))


def _a_bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _an_object_array(path: Path) -> None:
    np.savez(path, x_test=np.array([{}, []], object), y_test=np.zeros(2))


def _a_damaged_stream(path: Path) -> None:
    np.savez_compressed(path, x_test=np.zeros((9, 32, 32, 3), np.uint8), y_test=np.zeros(9))
    content = bytearray(path.read_bytes())
    content[50:70] = bytes(20)
    path.write_bytes(content)


def _text_labels(path: Path) -> None:
    np.savez(path, x_test=np.zeros((2, 32, 32, 3), np.uint8), y_test=np.array(["cat", "dog"]))


def _other_arrays(path: Path) -> None:
    np.savez(path, pictures=np.zeros(3))


def _grey_images(path: Path) -> None:
    np.savez(path, x_test=np.zeros((2, 32, 32), np.uint8), y_test=np.zeros(2, int))


def _broken_jpeg(path: Path) -> None:
    _write_jpeg_npz(path, [b"no jpeg"] * 3, np.zeros(3, np.int64))


def _sizes_that_differ(path: Path) -> None:
    contents = _jpegs(np.zeros((1, 32, 32, 3), np.uint8)) + _jpegs(np.zeros((1, 16, 16, 3), np.uint8))
    _write_jpeg_npz(path, contents, np.zeros(2, np.int64))


def _training_images_alone(path: Path) -> None:
    _write_jpeg_npz(path, [], np.zeros(0, np.int64))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_not_a_zip, "cannot be read as an .npz of plain arrays"),
        (_a_pickle, "cannot be read as an .npz of plain arrays"),
        (_a_bare_array, "cannot be read as an .npz of plain arrays"),
        (_an_object_array, "cannot be read as an .npz of plain arrays"),
        (_a_damaged_stream, "cannot be read as an .npz of plain arrays"),
        (_text_labels, "labels of type <U3; expected whole numbers"),
        (_other_arrays, r"holds \['pictures'\]; expected x_test and y_test"),
        (_grey_images, r"CIFAR-10 is uint8 \[N, 32, 32, 3\]"),
        (_broken_jpeg, "holds an image that cannot be decoded"),
        (_sizes_that_differ, "32x32"),
        (_training_images_alone, "holds no test images"),
    ],
)
def test_an_npz_that_cannot_be_used_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], message: str
) -> None:
    monkeypatch.setattr("clustnet.datasets.cifar10.TRAIN_IMAGES", 0)
    path = tmp_path / "cifar.npz"
    write(path)
    with pytest.raises(UserError, match=message) as error:
        load_cifar10("test", path)
    assert str(path) in str(error.value)


@pytest.mark.skipif(not REAL.is_file(), reason="needs cifar10/cifar10_jpeg.npz below CLUSTNET_TEST_DATA")
def test_the_real_file_holds_equally_many_classes() -> None:
    data = load_cifar10("test", REAL)
    assert data.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(data.fine).tolist() == [1000] * 10
    assert data.images.mean(axis=(0, 1, 2)) / 255 == pytest.approx(data.mean, abs=0.01)
