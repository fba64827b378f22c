"""The training images that a bundle shows of each subtype."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clustnet.bundles.bundle import Bundle, example_file
from clustnet.bundles.class_map import guesses
from clustnet.bundles.predictor import Predictor
from onnx_export.examples import EXAMPLES, small_jpeg
from onnx_export.export import export

Run = Callable[[str], Path]


@pytest.mark.parametrize("kind", ["unnamed", "soft"])
def test_examples_are_of_their_subtype(bundle: Any, kind: str) -> None:
    loaded = Bundle(bundle(kind)[0])
    counts = loaded.manifest.examples()
    assert max(counts) == EXAMPLES
    predictor, membership = Predictor(loaded, "cpu"), loaded.manifest.membership()
    right = []
    for subtype, count in enumerate(counts):
        for number in range(count):
            image = Image.open(loaded.path(example_file(subtype, number)))
            found = predictor.predict(np.asarray(image)[None])
            guess = guesses(found.coarse_probability, found.class_probability, membership)
            right.append(guess[0] == subtype)
    # JPEG changes an image a little.
    assert np.mean(right) > 0.8


def test_examples_may_be_left_out(run: Run, bundle: Any, tmp_path: Path) -> None:
    assert "training images, some of each subtype" in (bundle("unnamed")[0] / "README.md").read_text()
    export(run("unnamed"), tmp_path / "bundle", examples=False)
    loaded = Bundle(tmp_path / "bundle")
    assert set(loaded.manifest.examples()) == {0}
    assert not (tmp_path / "bundle" / "examples").exists()
    assert "examples/" not in (tmp_path / "bundle" / "README.md").read_text()


@pytest.mark.parametrize(("shape", "size"), [((28, 28), (28, 28)), ((300, 150, 3), (64, 128))])
def test_examples_are_small(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    image = Image.open(io.BytesIO(small_jpeg(np.zeros(shape, np.uint8))))
    assert (image.format, image.size) == ("JPEG", size)
