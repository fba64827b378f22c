"""Views of a photograph: random crops that depend only on its content, so they are embedded once and kept."""

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.preparation import prepare_image

# The smallest share of an image's area, and the widest proportions, that a random crop keeps.
LEAST_AREA = 0.4
WIDEST = 4 / 3
# The least side of a crop; a smaller one would show nothing.
SMALLEST_CROP_PIXELS = 4


def view_of(image: Image.Image, spec: InputSpec, number: int, digest: bytes) -> NDArray[np.uint8]:
    """Return a view of an image as an encoder reads it, uint8 of the spec's shape.

    Args:
        image: RGB, as ``clustnet.bundles.preparation.decode`` returns it.
        spec: the encoder's input.
        number: 0 for the image itself; 1 and above for random crops, which are never mirrored, as subtypes may differ
            by just that. Equal numbers give equal views.
        digest: digest of the image file's content, so that each image has its own crops.
    """
    if number == 0:
        return prepare_image(image, spec)
    seed = hashlib.sha256(digest + number.to_bytes(4, "big")).digest()
    generator = np.random.default_rng(np.frombuffer(seed, np.uint32))
    box = _random_box(image.size, generator)
    cropped = image.crop(box).resize((spec.shape[1], spec.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(cropped.convert("RGB" if spec.colour else "L"))


def _random_box(size: tuple[int, int], generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom of a random crop of an image of this width and height."""
    # Preparation keeps the square in the middle of an image, so a crop has at most its area.
    side = min(size)
    area = generator.uniform(LEAST_AREA, 1) * side * side
    proportions = float(np.exp(generator.uniform(-np.log(WIDEST), np.log(WIDEST))))
    sides = (area * proportions) ** 0.5, (area / proportions) ** 0.5
    width, height = (
        min(max(SMALLEST_CROP_PIXELS, round(wanted)), most) for wanted, most in zip(sides, size, strict=True)
    )
    left = int(generator.integers(0, size[0] - width, endpoint=True))
    top = int(generator.integers(0, size[1] - height, endpoint=True))
    return left, top, left + width, top + height
