"""A picture for trackers: the images that each expert is surest of, one row per expert."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.preparation import prepare
from clustnet.datasets import LabelledImages
from clustnet.datasets.folder import folder_input, read_file

# Experts and images of each, at most.
ROWS, COLUMNS = 20, 8
# Side in pixels of an image that was embedded.
SIDE = 64


def expert_sheet(split: LabelledImages, folder: Path | None, routing: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Return the sheet in pixels, uint8 [H, W, 3]; None for embeddings without image files.

    Args:
        split: the N images, or embeddings.
        folder: folder of the data, from which the images of embeddings are read.
        routing: routing distribution, float32 [N, E].
    """
    if split.images.ndim == 2 and (folder is None or split.files is None):
        return None
    rows = [np.argsort(-routing[:, expert], kind="stable")[:COLUMNS] for expert in range(routing.shape[1])][:ROWS]
    return np.vstack([np.hstack([_picture(split, folder, place) for place in row]) for row in rows])


def _picture(split: LabelledImages, folder: Path | None, place: int) -> NDArray[np.uint8]:
    """Return one image, uint8 [H, W, 3]."""
    image = split.images[place]
    if split.images.ndim == 2:
        assert folder is not None  # noqa: S101 - the caller looked
        assert split.files is not None  # noqa: S101
        spec = folder_input(None, (SIDE, SIDE), True)
        return read_file(folder / split.files[place], lambda content: prepare(content, spec))
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
