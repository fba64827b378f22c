"""What images are compared by, and that nothing is computed twice."""

from pathlib import Path

import numpy as np
import pytest

from clustnet.encoders.cache import EmbeddingCache
from tests.image_folder import write_coarse_folder
from training.discover import embedding, shards
from training.discover.arguments import Columns
from training.discover.embedding import Choice, chosen, load_rows, small_input
from training.discover.reading import Image, load_files, read
from training.discover.sources import entries


def _image(side: int, colour: int) -> Image:
    return Image("a.png", "a.png", "train", "ok", "0" * 64, side, side, colour)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    read(entries(write_coarse_folder(tmp_path / "photos", images=6), Columns()), run)
    return run


@pytest.mark.parametrize(
    ("names", "labels", "side", "colour", "choice"),
    [
        (["auto"], 2, 28, 0, Choice(("lite0",), embedding.OWN)),
        (["auto"], 1, 28, 0, Choice((), embedding.OWN)),
        (["auto"], 1, 28, 1, Choice(("lite0",), ())),
        (["auto"], 1, 65, 0, Choice(("lite0",), ())),
        (["none"], 2, 200, 1, Choice((), embedding.OWN)),
        (["lite0", "edges"], 2, 200, 1, Choice(("lite0",), ("edges",))),
    ],
)
def test_auto_depends_on_the_images(names: list[str], labels: int, side: int, colour: int, choice: Choice) -> None:
    assert chosen(names, [_image(side, colour)] * 3, labels) == choice


@pytest.mark.parametrize(("side", "colour", "shape"), [(28, 0, (28, 28)), (500, 1, (64, 64, 3)), (2, 0, (16, 16))])
def test_small_images_follow_the_median(side: int, colour: int, shape: tuple[int, ...]) -> None:
    assert tuple(small_input([_image(side, colour)] * 3).shape) == shape


def test_every_representation_has_its_rows(run: Path) -> None:
    images = load_files(run)
    embedding.embed(images, Choice((), embedding.OWN), run, 0)
    rows = load_rows(run)
    assert sorted(rows) == ["edges", "patches", "pixels"]
    assert all(len(found) == len(images) and np.isfinite(found).all() for found in rows.values())


def test_nothing_is_embedded_twice(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, choice = load_files(run), Choice(("lite0",), ())
    embedding.embed(images, choice, run, 0, views=1)
    first = load_rows(run)["lite0"]

    def stop(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(shards, "decode", stop)
    embedding.embed(images, choice, run, 0, views=1)
    np.testing.assert_array_equal(load_rows(run)["lite0"], first)
    encoder = embedding.open_encoder("lite0")
    assert len(EmbeddingCache(run / "embeddings", encoder.spec)) == 2 * len(images)
