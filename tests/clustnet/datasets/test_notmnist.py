import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.datasets import load
from clustnet.datasets.notmnist import IMAGES, LABELS, load_notmnist
from clustnet.errors import UserError

DATA = Path(os.environ.get("CLUSTNET_TEST_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
REAL = DATA / "notmnist"
COUNT = 100


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes, as LeCun's page describes it."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / IMAGES).write_bytes(gzip.compress(idx(images)))
    (folder / LABELS).write_bytes(gzip.compress(idx(labels)))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hundred images, ten of each letter in turn; each one's number stands in its first pixel."""
    images = np.zeros((COUNT, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(COUNT)
    return write(tmp_path / "letters", images, np.arange(COUNT) % 10)


def test_the_first_four_fifths_are_for_training(folder: Path) -> None:
    train, test = load_notmnist("train", folder), load_notmnist("test", folder)
    np.testing.assert_array_equal(train.images[:, 0, 0], np.arange(80))
    np.testing.assert_array_equal(test.images[:, 0, 0], np.arange(80, COUNT))
    np.testing.assert_array_equal(test.fine, np.arange(20) % 10)
    assert (test.fine.dtype, test.classes) == (np.int64, tuple("ABCDEFGHIJ"))
    assert (test.coarse_labels, test.coarse.tolist()) == (("all",), [0] * 20)


def test_loads_by_specification(folder: Path) -> None:
    data = load(f"notmnist:{folder}:test")
    assert (data.name, data.split, len(data)) == ("notmnist", "test", 20)


def test_no_path_is_refused() -> None:
    with pytest.raises(UserError, match="notMNIST is not part of this repository; name the folder"):
        load_notmnist("test")


def _remove(file: Path) -> None:
    file.unlink()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _replace_by_text(file: Path) -> None:
    file.write_text("<html>not found</html>")


def _other_numbers(file: Path) -> None:
    content = bytearray(gzip.decompress(file.read_bytes()))
    # The type of 32-bit floats.
    content[2] = 0x0D
    file.write_bytes(gzip.compress(bytes(content)))


def _too_short_inside(file: Path) -> None:
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-1]))


def _one_label_less(file: Path) -> None:
    file.write_bytes(gzip.compress(idx(np.arange(COUNT - 1) % 10)))


def _an_eleventh_letter(file: Path) -> None:
    file.write_bytes(gzip.compress(idx(np.full(COUNT, 10))))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove, "is missing; name the folder that holds it"),
        (_cut, "cannot be unpacked"),
        (_replace_by_text, "cannot be unpacked"),
        (_other_numbers, "is not an IDX file of unsigned bytes, or is cut short"),
        (_too_short_inside, "is not an IDX file of unsigned bytes, or is cut short"),
        (_one_label_less, r"images \[100, 28, 28\] and labels \[99\]; notMNIST is \[N, 28, 28\] and \[N\]"),
        (_an_eleventh_letter, r"the label 10; notMNIST has 0 \(A\) to 9 \(J\)"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder / LABELS)
    with pytest.raises(UserError, match=message) as error:
        load_notmnist("test", folder)
    assert str(folder) in str(error.value)


def test_a_split_without_images_is_refused(tmp_path: Path) -> None:
    # Its only image is for testing.
    folder = write(tmp_path / "one", np.zeros((1, 28, 28)), np.zeros(1))
    with pytest.raises(UserError, match="holds no train images"):
        load_notmnist("train", folder)


@given(st.binary(max_size=60))
def test_any_content_is_at_worst_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("letters")
    for name in (IMAGES, LABELS):
        (folder / name).write_bytes(gzip.compress(b"\0\0\x08" + content))
    with pytest.raises(UserError):
        load_notmnist("test", folder)


@pytest.mark.skipif(not (REAL / IMAGES).is_file(), reason=f"needs notmnist/{IMAGES} below CLUSTNET_TEST_DATA")
def test_real_files_hold_equally_many_letters() -> None:
    train, test = load_notmnist("train", REAL), load_notmnist("test", REAL)
    assert [np.bincount(data.fine).tolist() for data in (train, test)] == [[800] * 10, [200] * 10]
    assert train.images.mean() / 255 == pytest.approx(train.mean[0], abs=5e-5)
    assert (train.images / 255).std() == pytest.approx(train.std[0], abs=5e-5)
