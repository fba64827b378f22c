import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import MNIST

from clustnet.datasets import GROUPINGS, load, load_named
from clustnet.datasets.mnist import EMBEDDED, SHA256, load_mnist, unpacked
from clustnet.errors import UserError

# Published counts of the digits 0 to 9.
COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the packed files that a test may damage, with a cache of its own."""
    monkeypatch.setenv("CLUSTNET_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(EMBEDDED, tmp_path / "packed"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_is_what_torchvision_reads(split: str) -> None:
    ours = load_mnist(split)
    theirs = MNIST(str(unpacked()), train=split == "train", download=False)
    assert ours.images.dtype == np.uint8
    assert ours.fine.dtype == np.int64
    assert (ours.coarse_labels, ours.coarse.any()) == (("all",), False)
    np.testing.assert_array_equal(ours.images, theirs.data.numpy())
    np.testing.assert_array_equal(ours.fine, theirs.targets.numpy())
    assert np.bincount(ours.fine).tolist() == COUNTS[split]


def test_its_own_coarse_labels_are_halves() -> None:
    data = load_mnist("test").grouped(GROUPINGS["mnist"])
    assert data.coarse_labels == ("0-4", "5-9")
    np.testing.assert_array_equal(data.coarse, data.fine >= 5)


def test_published_normalisation_is_that_of_the_training_images() -> None:
    train = load_mnist("train")
    pixels = train.images / 255
    assert train.mean[0] == pytest.approx(pixels.mean(), abs=5e-5)
    assert train.std[0] == pytest.approx(pixels.std(), abs=5e-5)


def test_another_compression_of_the_content_is_accepted(packed: Path) -> None:
    content = gzip.decompress((packed / LABELS).read_bytes())
    (packed / LABELS).write_bytes(gzip.compress(content, compresslevel=1))
    np.testing.assert_array_equal(load_mnist("test", packed).fine, load_mnist("test").fine)


def _remove(file: Path) -> None:
    file.unlink()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _garble(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def _replace_by_text(file: Path) -> None:
    file.write_text("<html>not found</html>")


def _alter_one_label(file: Path) -> None:
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[-1] ^= 1
    file.write_bytes(gzip.compress(bytes(content)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove, "is missing"),
        (_cut, "is cut short"),
        (_empty, "is altered"),
        (_garble, "is damaged"),
        (_replace_by_text, "is damaged"),
        (_alter_one_label, "is altered"),
    ],
)
def test_a_damaged_file_is_named(packed: Path, damage: object, message: str) -> None:
    damage(packed / LABELS)  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as error:
        load_mnist("test", packed)
    assert str(packed / LABELS) in str(error.value)
    assert "restore it from" in str(error.value)


def test_an_earlier_cache_does_not_hide_damage(packed: Path) -> None:
    load_mnist("test", packed)
    _alter_one_label(packed / LABELS)
    with pytest.raises(UserError, match="is altered"):
        load_mnist("test", packed)


def test_a_damaged_cache_is_repaired(packed: Path) -> None:
    cached = unpacked(packed) / "MNIST" / "raw" / IMAGES.removesuffix(".gz")
    cached.write_bytes(b"damaged")
    assert load_mnist("test", packed).images.shape == (10_000, 28, 28)


def test_a_failure_leaves_no_partial_file(packed: Path, tmp_path: Path) -> None:
    _alter_one_label(packed / LABELS)
    with pytest.raises(UserError):
        load_mnist("test", packed)
    left = {file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()}
    assert left <= SHA256.keys()


def test_a_cache_that_cannot_be_written_is_named(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("CLUSTNET_CACHE", str(blocked))
    with pytest.raises(UserError, match=r"cannot be unpacked into .*set CLUSTNET_CACHE"):
        load_mnist("test", packed)


def test_loads_by_specification(packed: Path) -> None:
    data = load(f"mnist:{packed}:test").first(3)
    assert (data.name, data.split, len(data)) == ("mnist", "test", 3)
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize("spec", ["mnist", "mnist:", ":test", ""])
def test_a_specification_of_another_form_is_refused(spec: str) -> None:
    with pytest.raises(UserError, match="must have the form NAME:SPLIT or NAME:PATH:SPLIT"):
        load(spec)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="no data set 'fashion'; choose one of mnist, cifar10, notmnist, coil20"):
        load_named("fashion", "test")
    with pytest.raises(UserError, match="no split 'dev'; choose train or test"):
        load("mnist:dev")
