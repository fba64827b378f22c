"""The experts' filters and activations over epochs."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from training.pictures.figures import MUTED, grid
from training.pictures.snapshot import Floats, Snapshot

# The side of each picture in the table, and the gap between two, in pixels.
CELL, GAP = 96, 6
INCHES = 0.8
Colours = NDArray[np.float32]


def draw_filters(snapshots: Sequence[Snapshot], names: Sequence[str]) -> Figure:
    """Return the experts' filters: a row for each expert, a column for each epoch; white is 0.

    Args:
        snapshots: the snapshots of the epochs.
        names: the names of the experts.
    """
    rows = [[_signed(_mosaic(one.filters[expert])) for one in snapshots] for expert in range(len(names))]
    return _table(rows, [f"epoch {one.number}" for one in snapshots], names)


def draw_activations(snapshots: Sequence[Snapshot], images: NDArray[np.uint8], names: Sequence[str]) -> Figure:
    """Return what the experts make of some images: a row for each image and expert, a column for each epoch.

    Args:
        snapshots: the snapshots of the epochs.
        images: [I, H, W] or [I, H, W, C] from 0 to 255, shown in the first column.
        names: the names of the experts.
    """
    rows = []
    for place, image in enumerate(images):
        for expert in range(len(names)):
            found = [one.activations[place, expert] for one in snapshots]
            shades = [_signed(one) if (one < 0).any() else _from_zero(one) for one in found]
            rows.append([_grey(image) if expert == 0 else np.ones((1, 1, 3), np.float32), *shades])
    columns = ["image", *(f"epoch {one.number}" for one in snapshots)]
    return _table(rows, columns, list(names) * len(images))


def _table(rows: Sequence[Sequence[Colours]], columns: Sequence[str], names: Sequence[str]) -> Figure:
    """Return pictures as a table with names above and at the left, drawn as a single image, which is fast."""
    step = CELL + GAP
    page = np.ones((len(rows) * step - GAP, len(columns) * step - GAP, 3), np.float32)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            tile = _fitted(cell)
            top = row * step + (CELL - len(tile)) // 2
            left = column * step + (CELL - tile.shape[1]) // 2
            page[top : top + len(tile), left : left + tile.shape[1]] = tile
    figure, ((axes,),) = grid(1, 1, (INCHES * len(columns) + 1.0, INCHES * len(rows) + 0.4))
    axes.imshow(page, interpolation="nearest")
    axes.set_xticks([place * step + CELL / 2 for place in range(len(columns))], columns, fontsize=9, color=MUTED)
    axes.set_yticks([place * step + CELL / 2 for place in range(len(names))], names, fontsize=9)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure


def _fitted(cell: Colours) -> Colours:
    """Return a picture enlarged by a whole factor, or reduced, to sides of at most ``CELL``."""
    factor = CELL // max(cell.shape[:2])
    if factor >= 1:
        return cell.repeat(factor, axis=0).repeat(factor, axis=1)
    image = Image.fromarray((cell * 255).astype(np.uint8))
    image.thumbnail((CELL, CELL))
    return (np.asarray(image) / 255).astype(np.float32)


def _signed(values: Floats) -> Colours:
    """Return values in red above 0 and in blue below, white where they are 0 or NaN."""
    most = float(np.nanmax(np.abs(values))) or 1.0
    return _coloured("RdBu_r", np.nan_to_num(values / most) / 2 + 0.5)


def _from_zero(values: Floats) -> Colours:
    """Return values of 0 and more from black to yellow."""
    return _coloured("magma", values / (float(values.max()) or 1.0))


def _coloured(name: str, values: Floats) -> Colours:
    found: Colours = colormaps[name](values)[..., :3].astype(np.float32)
    return found


def _grey(image: NDArray[np.uint8]) -> Colours:
    """Return an image as colours from 0 to 1."""
    planes = image if image.ndim == 3 else image[..., None]
    found: Colours = (np.broadcast_to(planes, (*planes.shape[:2], 3)).clip(0, 255) / 255).astype(np.float32)
    return found


def _mosaic(filters: Floats) -> Floats:
    """Return filters [F, H, W] side by side in a square, with NaN between them."""
    count, height, width = filters.shape
    columns = math.ceil(math.sqrt(count))
    lines = -(-count // columns)
    page: Floats = np.full((lines * (height + 1) - 1, columns * (width + 1) - 1), np.nan, np.float32)
    for place, one in enumerate(filters):
        top, left = place // columns * (height + 1), place % columns * (width + 1)
        page[top : top + height, left : left + width] = one
    return page
