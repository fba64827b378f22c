"""Typical training images of each subtype, which the page shows beside an answer."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clustnet.bundles.bundle import example_file
from clustnet.bundles.class_map import guesses
from clustnet.bundles.predictor import Predictions
from clustnet.datasets import LabelledImages
from onnx_export.inputs import Inputs
from training.discover.sheets import jpeg

# How many each subtype has.
EXAMPLES = 6
# In pixels.
LARGEST_SIDE = 128


def write_examples(
    bundle: Path, inputs: Inputs, train: LabelledImages, found: Predictions, membership: NDArray[np.bool_]
) -> None:
    """Write the training images of each subtype that the model is surest of, as small JPEG files.

    Images count only where the predicted coarse label is right, so that no example shows a mistake.

    Args:
        bundle: the bundle's folder.
        inputs: the run's data.
        train: N training images.
        found: what the model predicts for them.
        membership: bool [K, C] whether each subtype belongs to each coarse label.
    """
    guess = guesses(found.coarse_probability, found.class_probability, membership)
    right = found.coarse_probability.argmax(axis=1) == train.coarse
    sure = np.take_along_axis(found.class_probability, guess[:, None], axis=1)[:, 0] * found.confidence
    for subtype in range(membership.shape[1]):
        members = np.flatnonzero(right & (guess == subtype))
        typical = train.take(members[np.argsort(-sure[members], kind="stable")[:EXAMPLES]])
        if not len(typical):
            continue
        for number, pixels in enumerate(np.concatenate(list(inputs.pixels(typical)))):
            path = bundle / example_file(subtype, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(small_jpeg(pixels))


def small_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image uint8 [H, W] or [H, W, 3] as a JPEG file with sides of at most 128 pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return jpeg(image)
