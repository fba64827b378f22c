"""The images that a network gets wrong, and those that its gate is least sure of, with their files."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clustnet.bundles.decoding import decode
from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.errors import UserError
from clustnet.files import shown
from clustnet.pages.rendering import data_url
from training.models.inference import Routed
from training.pictures.snapshot import certainty

WRONG, UNSURE = "wrong coarse label", "least certain gate"
# The most images of each kind in the table and on the page.
MOST_ROWS, MOST_SHOWN = 200, 24
# The longer side of a picture, in pixels.
TILE = 112


class Case(NamedTuple):
    """An image that is worth a look.

    Args:
        kind: ``WRONG`` or ``UNSURE``.
        place: the image's place in the split, from 0.
        file: the image's file, relative to the folder of the data; empty where there is none.
        coarse: the image's coarse label; empty where it is not known.
        predicted: the predicted coarse label.
        probability: the probability of the predicted coarse label.
        expert: the most probable expert.
        routing: the routing weight of that expert.
    """

    kind: str
    place: int
    file: str
    coarse: str
    predicted: str
    probability: float
    expert: int
    routing: float

    @property
    def name(self) -> str:
        """What the image is called: its file, or its place in the split."""
        return shown(self.file) if self.file else f"image {self.place}"


def cases(images: LabelledImages, routed: Routed) -> list[Case]:
    """Return the images with a wrong coarse label, the surest first, then those that the gate is least sure of.

    Args:
        images: the images of one split.
        routed: what the model answers for them.
    """
    probability, sure = routed.coarse_probability, certainty(routed.routing)
    predicted = probability.argmax(axis=1)
    chosen = probability[np.arange(len(predicted)), predicted]
    wrong = np.flatnonzero((images.coarse != predicted) & (images.coarse != UNKNOWN))
    order = {WRONG: wrong[np.argsort(-chosen[wrong], kind="stable")], UNSURE: np.argsort(sure, kind="stable")}
    labels = [*images.coarse_labels, ""]
    return [
        Case(
            kind,
            place,
            "" if images.files is None else images.files[place],
            labels[images.coarse[place]],
            labels[predicted[place]],
            round(float(chosen[place]), 4),
            int(routed.routing[place].argmax()),
            round(float(sure[place]), 4),
        )
        for kind, places in order.items()
        for place in places[:MOST_ROWS].tolist()
    ]


def rows_of(found: Sequence[Case]) -> list[dict[str, Any]]:
    """Return cases as rows of a table."""
    return [one._asdict() for one in found]


def tile(images: LabelledImages, place: int, folder: Path | None) -> str | None:
    """Return a thumbnail of an image as a data URL, with the image's own colours and aspect ratio.

    Args:
        images: the images of one split.
        place: the image's place in the split.
        folder: the folder of the data, where the images are files.

    Returns:
        The data URL; None for a row of numbers instead of an image, or a file that can no longer be read.
    """
    if images.files is not None and folder is not None and folder.is_dir():
        try:
            return _jpeg(ImageOps.contain(decode((folder / images.files[place]).read_bytes()), (TILE, TILE)))
        except (OSError, UserError):
            return None
    pixels: NDArray[Any] = images.images[place]
    return None if pixels.ndim < 2 or pixels.shape[0] == 1 else _enlarged(pixels)


def _enlarged(pixels: NDArray[Any]) -> str:
    """Return a small image enlarged by a whole factor, or a large one reduced, as a data URL."""
    image = Image.fromarray(pixels.squeeze().clip(0, 255).astype(np.uint8))
    factor = TILE // max(image.size)
    if factor < 1:
        return _jpeg(ImageOps.contain(image, (TILE, TILE)))
    content = io.BytesIO()
    image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(content, "PNG")
    return data_url(content.getvalue())


def _jpeg(image: Image.Image) -> str:
    content = io.BytesIO()
    image.convert("RGB").save(content, "JPEG", quality=85)
    return data_url(content.getvalue(), "jpeg")
