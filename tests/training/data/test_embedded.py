from pathlib import Path

import numpy as np
import pytest

from clustnet.encoders import open_encoder
from clustnet.errors import UserError
from tests.encoders import FEATURES, write_encoder, write_photographs
from training.data.data import load_split
from training.data.embedded import EmbeddedFiles
from training.data.partition_file import read_partition, training_files
from training.recipe.recipe import Data


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    return write_photographs(tmp_path / "photographs", 6, 2)


@pytest.fixture
def embedded(tmp_path: Path) -> EmbeddedFiles:
    encoder = open_encoder(write_encoder(tmp_path / "tiny").parent, device="cpu")
    return EmbeddedFiles(encoder, tmp_path / "embeddings")


def test_embeddings_stand_in_for_images(photographs: Path, embedded: EmbeddedFiles) -> None:
    plain = load_split(Data(name="folder", path=photographs, size=(16, 16)), "train")
    found = load_split(Data(name="folder", path=photographs), "train", embedded.images)
    assert (found.files, found.coarse_labels) == (plain.files, plain.coarse_labels)
    np.testing.assert_array_equal(found.coarse, plain.coarse)
    np.testing.assert_allclose(found.images, embedded.encoder.embed(plain.images), rtol=1e-5)
    assert found.first(3).images.shape == (3, FEATURES)


def test_what_is_kept_is_not_embedded_again(
    photographs: Path, embedded: EmbeddedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(photographs.rglob("*.png"))
    first = embedded.views(files, 2)
    monkeypatch.setattr(embedded.encoder, "embed", None)
    np.testing.assert_array_equal(embedded.views(files, 2), first)
    assert first.shape == (16, 2, FEATURES)
    assert (first[:, 0] != first[:, 1]).any()


def test_equal_files_have_equal_embeddings(photographs: Path, embedded: EmbeddedFiles) -> None:
    file = next(photographs.rglob("*.png"))
    copy = file.with_name("copy.png")
    copy.write_bytes(file.read_bytes())
    first, second = embedded.images([file, copy])
    np.testing.assert_array_equal(first, second)


def test_a_damaged_file_is_named(photographs: Path, embedded: EmbeddedFiles) -> None:
    file = next(photographs.rglob("*.png"))
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UserError, match=r"\.png is cut short or damaged"):
        embedded.images([file])


def test_partitions_are_read_by_file_name(photographs: Path, tmp_path: Path) -> None:
    files, table = training_files(photographs), tmp_path / "partition.csv"
    assert set(files) == {f"train/{label}/{index:03d}.png" for label in ("cold", "warm") for index in range(6)}
    table.write_text(f"file,cluster\n{files[3]},4\n{files[0]},0\n")
    assert read_partition(table, files).tolist() == [0, -1, -1, 4, *[-1] * 8]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,cluster\nother.png,1\n", "lists none of the training images"),
        ("file\na.png\n", "cannot be read"),
        ("file,cluster\na.png,x\n", "cannot be read"),
        ("file,cluster\na.png,-2\n", "number clusters from 0"),
    ],
)
def test_wrong_partitions_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "partition.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_partition(tmp_path / "partition.csv", ["a.png"])
