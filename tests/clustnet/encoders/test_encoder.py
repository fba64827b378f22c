import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clustnet.encoders import Concatenated, Encoder, find_encoder, open_encoder
from clustnet.encoders.encoder import unit
from clustnet.errors import UserError
from tests.encoders import FEATURES, SIDE, write_encoder


def noise(count: int, side: int = SIDE) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def opened(graph: Path) -> Encoder:
    return Encoder(graph, graph.with_suffix(".json"), device="cpu")


def test_embeddings_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    encoder, images = opened(write_encoder(tmp_path / "tiny")), noise(11)
    assert encoder.embed(images).shape == (11, FEATURES)
    np.testing.assert_allclose(encoder.embed(images, 3), encoder.embed(images, 11), rtol=1e-5)
    assert encoder.embed(images[:0]).shape == (0, FEATURES)


def test_floats_are_normalised_as_described(tmp_path: Path) -> None:
    """A graph of floats sees (pixel / 255 - mean) / std."""
    image = noise(1)
    whole = opened(write_encoder(tmp_path / "bytes")).embed(image)
    colour = (image.mean(axis=(1, 2)) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    basis = [opened(write_encoder(tmp_path / "bytes")).embed(np.full((1, SIDE, SIDE, 3), 0, np.uint8))]
    assert np.abs(basis[0]).max() < 1e-6
    channels = np.stack(
        [
            opened(write_encoder(tmp_path / "bytes")).embed(
                np.where(np.arange(3) == channel, 1, 0)
                .astype(np.uint8)[None, None, None]
                .repeat(SIDE, 1)
                .repeat(SIDE, 2)
            )[0]
            for channel in range(3)
        ]
    )
    np.testing.assert_allclose(image.mean(axis=(1, 2)) @ channels, whole, rtol=1e-4)
    floats = opened(write_encoder(tmp_path / "floats", floats=True)).embed(image)
    np.testing.assert_allclose(floats, colour @ channels, rtol=1e-4, atol=1e-4)


def test_the_crop_is_the_middle(tmp_path: Path) -> None:
    encoder = opened(write_encoder(tmp_path / "tiny", crop=0.8))
    images = noise(2, 20)
    assert encoder.input.shape == (20, 20, 3)
    plain = opened(write_encoder(tmp_path / "plain"))
    np.testing.assert_array_equal(encoder.embed(images), plain.embed(np.ascontiguousarray(images[:, 2:18, 2:18])))


def test_two_encoders_count_alike(tmp_path: Path) -> None:
    first, second = write_encoder(tmp_path / "one").parent, write_encoder(tmp_path / "two", floats=True).parent
    both, images = open_encoder(f"{first},{second}", device="cpu"), noise(3)
    assert isinstance(both, Concatenated)
    assert (both.spec.name, both.spec.features) == ("one,two", 2 * FEATURES)
    parts = [unit(open_encoder(folder, device="cpu").embed(images)) for folder in (first, second)]
    np.testing.assert_allclose(both.embed(images), np.concatenate(parts, axis=1), rtol=1e-6)


def test_a_file_may_have_a_short_description(tmp_path: Path) -> None:
    graph = write_encoder(tmp_path / "tiny")
    mine = graph.rename(tmp_path / "mine.onnx")
    mine.with_suffix(".json").write_text('{"size": [16, 16], "mean": [0, 0, 0], "std": [1, 1, 1]}')
    encoder = open_encoder(mine, device="cpu")
    assert (encoder.spec.name, encoder.spec.features, encoder.spec.licence) == ("mine", FEATURES, "not stated")


def test_lite0_reads_several_sizes() -> None:
    encoder = open_encoder("lite0", device="cpu", size=(64, 96))
    found = encoder.embed(np.zeros((2, 64, 96, 3), np.uint8))
    assert (found.shape, encoder.input.shape) == ((2, 1280), (64, 96, 3))
    with pytest.raises(UserError, match=r"160x160 or of other multiples of 32, not of 100x100"):
        open_encoder("lite0", size=(100, 100))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, "is damaged"),
        ({"features": 5}, r"writes \[2, 12\] for 2 images, but must write \[2, 5\]"),
        ({"size": [8, 8]}, "does not embed images of 8x8"),
        ({"std": [0, 1, 1]}, "does not describe an encoder: std.0"),
        ({"colour": False}, "does not describe an encoder: colour"),
        ({"other": 1}, "does not describe an encoder: other"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        opened(write_encoder(tmp_path / "tiny", **changes))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    graph = write_encoder(tmp_path / "tiny")
    description = graph.with_suffix(".json")
    graph.write_bytes(b"no graph")
    description.write_text(json.dumps({"size": [16, 16], "mean": [0, 0, 0], "std": [1, 1, 1]}))
    with pytest.raises(UserError, match="cannot be loaded"):
        opened(graph)
    description.write_text("[]")
    with pytest.raises(UserError, match="must hold keys and values"):
        opened(graph)
    description.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        opened(graph)
    description.unlink()
    with pytest.raises(UserError, match=r"needs encoder\.json beside it"):
        opened(graph)


@pytest.mark.parametrize("name", ["lite9", "a,b,c,d,e", "lite0,", "lite0,lite0"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UserError):
        open_encoder(name)


def test_images_of_other_shapes_are_refused(tmp_path: Path) -> None:
    encoder = opened(write_encoder(tmp_path / "tiny"))
    for images in (noise(1, 8), noise(1).astype(np.float32)):
        with pytest.raises(UserError, match="reads uint8 images of"):
            encoder.embed(images)  # type: ignore[arg-type]


def test_lite0_is_found_by_its_name() -> None:
    graph, description = find_encoder("lite0")
    assert (graph.name, description.name, graph.parent.name) == ("encoder.onnx", "encoder.json", "lite0")
