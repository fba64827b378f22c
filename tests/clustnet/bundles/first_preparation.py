"""The preparation of digits as it was before photographs were read; clean images are still prepared so."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def first_prepare_digit(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    ink = _bright_ink(grey)
    drawn = ink > 0.05 * 255
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _centre_by_mass(_fit(cropped, 20), 28)


def _bright_ink(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    darker = paper - grey.astype(np.float64)
    ink = np.clip(darker if darker.max() >= -darker.min() else -darker, 0, None)
    return np.asarray(ink * (255 / ink.max()) if ink.max() >= 1 else ink)


def _fit(ink: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    height, width = ink.shape
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = Image.fromarray(ink.astype(np.float32)).resize(
        size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    )
    return np.clip(np.asarray(resized, np.float64), 0, 255)


def _centre_by_mass(ink: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    field = np.zeros((side, side), np.uint8)
    corner = []
    for axis, length in enumerate(ink.shape):
        mass = ink.sum(axis=1 - axis)
        centre = (mass * np.arange(length)).sum() / mass.sum()
        corner.append(int(np.clip(round(side / 2 - centre), 0, side - length)))
    top, left = corner
    field[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(ink)
    return field
