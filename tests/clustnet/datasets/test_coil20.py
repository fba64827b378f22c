import os
from pathlib import Path

import numpy as np
import pytest

from clustnet.datasets import load
from clustnet.datasets.coil20 import load_coil20
from clustnet.errors import UserError

DATA = Path(os.environ.get("CLUSTNET_TEST_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
REAL = DATA / "coil20" / "coil20.npz"
Arrays = dict[str, np.ndarray]


@pytest.fixture
def arrays() -> Arrays:
    """Twenty objects in eight poses, 64x64."""
    images = np.random.default_rng(0).integers(0, 256, (160, 64, 64), dtype=np.uint8)
    number = np.arange(160)
    return {"X": images, "object_id": (number // 8 + 1).astype(np.uint8), "pose": (number % 8).astype(np.uint8)}


def _write(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "coil.npz", **arrays)
    return folder / "coil.npz"


def test_every_fourth_pose_is_for_testing(tmp_path: Path, arrays: Arrays) -> None:
    path = _write(tmp_path, arrays)
    train, test = load_coil20("train", path), load_coil20("test", path)
    np.testing.assert_array_equal(train.fine, np.repeat(np.arange(20), 6))
    np.testing.assert_array_equal(test.fine, np.repeat(np.arange(20), 2))
    assert (test.fine.dtype, test.classes[0], len(test.classes)) == (np.int64, "object1", 20)
    assert (test.coarse_labels, test.coarse.tolist()) == (("all",), [0] * 40)


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "coil20.npz", **arrays)
    assert len(load_coil20("test", tmp_path)) == 40
    with pytest.raises(UserError, match=r"The file .*coil20\.npz is missing"):
        load_coil20("test", tmp_path.parent)


def test_images_are_shrunk_by_averaging(tmp_path: Path, arrays: Arrays) -> None:
    test = load_coil20("test", _write(tmp_path, arrays))
    squares = arrays["X"][arrays["pose"] % 4 == 3].reshape(40, 32, 2, 32, 2).mean(axis=(2, 4))
    assert (test.images.dtype, test.images.shape) == (np.uint8, (40, 32, 32))
    # Rounded once a direction.
    assert np.abs(test.images - squares).max() <= 1


def test_loads_by_specification(tmp_path: Path, arrays: Arrays) -> None:
    data = load(f"coil20:{_write(tmp_path, arrays)}:test")
    assert (data.name, data.split, len(data)) == ("coil20", "test", 40)


def test_no_path_is_refused() -> None:
    with pytest.raises(UserError, match=r"COIL-20 is not part of this repository; name its \.npz file"):
        load_coil20("test")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "coil.npz").write_text("no zip")
    with pytest.raises(UserError, match=r"cannot be read as an \.npz of plain arrays"):
        load_coil20("test", tmp_path / "coil.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.zeros((160, 64, 64))}, r"X of float64 \[160, 64, 64\]; COIL-20 is uint8"),
        ({"X": np.zeros((160, 64, 64, 3), np.uint8)}, r"X of uint8 \[160, 64, 64, 3\]"),
        ({"X": np.zeros((160, 0, 64), np.uint8)}, r"X of uint8 \[160, 0, 64\]"),
        ({"pose": np.zeros(159, int)}, "160 images, 160 object numbers and 159 poses"),
        ({"object_id": np.arange(160) % 20}, "objects 0 to 19; COIL-20 has the objects 1 to 20"),
        ({"object_id": np.ones(160)}, "object_id of type float64; expected whole numbers"),
        ({"pose": np.zeros(160, int)}, "holds no test images; every fourth pose is for testing"),
    ],
)
def test_content_of_another_form_says_why(tmp_path: Path, arrays: Arrays, changes: Arrays, message: str) -> None:
    path = _write(tmp_path, arrays | changes)
    with pytest.raises(UserError, match=message) as error:
        load_coil20("test", path)
    assert str(path) in str(error.value)


def test_an_array_that_is_missing_is_refused(tmp_path: Path, arrays: Arrays) -> None:
    del arrays["pose"]
    with pytest.raises(UserError, match=r"holds \['X', 'object_id'\]; COIL-20 is X, object_id and pose"):
        load_coil20("train", _write(tmp_path, arrays))


@pytest.mark.skipif(not REAL.is_file(), reason="needs coil20/coil20.npz below CLUSTNET_TEST_DATA")
def test_the_real_file_holds_equally_many_poses() -> None:
    train, test = load_coil20("train", REAL), load_coil20("test", REAL)
    assert [np.bincount(data.fine).tolist() for data in (train, test)] == [[54] * 20, [18] * 20]
    assert train.images.mean() / 255 == pytest.approx(train.mean[0], abs=5e-5)
    assert (train.images / 255).std() == pytest.approx(train.std[0], abs=5e-5)
