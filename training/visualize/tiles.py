"""Images side by side, as one picture."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GAP, PAPER = 2, 255
# The shorter side, in pixels, up to which an image is enlarged by a whole factor.
SMALLEST_TILE = 64


def tiled(images: NDArray[np.uint8], columns: int) -> bytes:
    """Return images in rows of ``columns``, as a PNG.

    Args:
        images: uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, N at least 1.
        columns: number of images in a row.
    """
    planes = images[..., None] if images.ndim == 3 else images
    coloured = np.broadcast_to(planes, (*planes.shape[:3], 3))
    factor = max(1, SMALLEST_TILE // min(coloured.shape[1:3]))
    large = coloured.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = (side + GAP for side in large.shape[1:3])
    columns, rows = min(columns, len(large)), -(-len(large) // columns)
    page = np.full((rows * height - GAP, columns * width - GAP, 3), PAPER, np.uint8)
    for place, image in enumerate(large):
        top, left = place // columns * height, place % columns * width
        page[top : top + height - GAP, left : left + width - GAP] = image
    content = io.BytesIO()
    Image.fromarray(page).save(content, "PNG")
    return content.getvalue()


def highest(values: NDArray[np.floating], count: int) -> Sequence[int]:
    """Return the places of the ``count`` highest values, [N], the highest first."""
    places: list[int] = np.argsort(-values, kind="stable")[:count].tolist()
    return places
