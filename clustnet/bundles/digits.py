"""Preparation of a drawn or photographed digit in the form of MNIST's digits."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clustnet.bundles.bundle import DIGIT_SHAPE
from clustnet.bundles.decoding import ImageError
from clustnet.bundles.paper import is_even, photographed_ink

DIGIT_BOX_PIXELS = 20
# A share of the range from paper to the strongest ink; fainter pixels are noise.
MIN_INK = 0.05
# Width / height. Two digits side by side are wider than one, two in a column narrower. From WIDE on hardly any single
# digit is as wide, so one of the two may be a 1. One of MNIST's 70,000 digits, a 1, is taken for two.
MIN_PAIR_ASPECT, WIDE_ASPECT, MAX_COLUMN_ASPECT = 0.9, 1.3, 0.45
# The least height and width of each of two digits, as a share of the height and width of both together.
MIN_BESIDE_HEIGHT, MIN_BESIDE_WIDTH = 0.5, 0.25
MIN_COLUMN_HEIGHT, MIN_COLUMN_WIDTH = 0.3, 0.3
# The least share of the ink in each of two digits. A 1 beside an 8 reaches it; less is a speck.
MIN_INK_SHARE = 0.1


def prepare_digit(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a drawing prepared as MNIST's digits were, uint8 [28, 28], 0 paper and 255 ink.

    Ink is made bright, cropped, fitted into 20x20 with its proportions kept, and centred by mass in 28x28
    (LeCun et al. 1998). Before that, uneven light, noise and ruled lines are removed from a photograph.

    Args:
        grey: uint8 [H, W], dark ink on light paper or the other way round.

    Raises:
        ImageError: the image is one flat colour, is paper without ink, or shows several digits.
    """
    ink = _ink(grey)
    drawn = ink > MIN_INK * 255
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    if _holds_several(drawn[box]):
        raise ImageError("several_digits", "The image shows several digits; crop it to one.")
    return _centre_by_mass(_fitted(ink[box], DIGIT_BOX_PIXELS), DIGIT_SHAPE[0])


def _ink(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the ink from 0 for paper to 255 for the strongest ink; a photograph is reduced in size.

    The border shows the paper. Ink is darker or brighter than it, whichever differs more.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    darker = paper - grey.astype(np.float64)
    ink = np.clip(darker if darker.max() >= -darker.min() else -darker, 0, None)
    strongest = float(ink.max())
    if strongest < 1:
        raise ImageError("blank_image", "The image is one flat colour, so there is nothing to read; draw a digit.")
    if is_even(grey, paper, MIN_INK * strongest, strongest):
        return np.asarray(ink * (255 / strongest))
    found = photographed_ink(grey).astype(np.float64)
    if not found.any():
        raise ImageError(
            "blank_image", "The image shows paper and no ink that stands out from it; draw or photograph a digit."
        )
    return found


def _holds_several(drawn: NDArray[np.bool_]) -> bool:
    """Return whether two digits lie side by side or in a column with paper between them; ``drawn`` has no margin."""
    height, width = drawn.shape
    if width >= MIN_PAIR_ASPECT * height:
        least = MIN_BESIDE_HEIGHT * height, 0.0 if width >= WIDE_ASPECT * height else MIN_BESIDE_WIDTH * width
    elif width <= MAX_COLUMN_ASPECT * height:
        drawn, least = drawn.T, (MIN_COLUMN_WIDTH * width, MIN_COLUMN_HEIGHT * height)
    else:
        return False
    empty = np.flatnonzero(~drawn.any(axis=0))
    # The first and the last column of each gap.
    starts = empty[np.diff(empty, prepend=-1) > 1]
    ends = empty[np.diff(empty, append=drawn.shape[1]) > 1]
    pairs = ((drawn[:, :start], drawn[:, end + 1 :]) for start, end in zip(starts, ends, strict=True))
    return any(all(_is_digit(half, *least, MIN_INK_SHARE * drawn.sum()) for half in pair) for pair in pairs)


def _is_digit(half: NDArray[np.bool_], across: float, along: float, ink: float) -> bool:
    """Return whether one side of a gap is large enough to be a digit of its own.

    Args:
        half: bool [H, W] whether each pixel on this side has ink.
        across: the least extent of the rows with ink.
        along: the least number of columns.
        ink: the least number of pixels with ink.
    """
    return bool(half.shape[1] >= along and np.ptp(np.flatnonzero(half.any(axis=1))) + 1 >= across and half.sum() >= ink)


def _fitted(ink: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return ``ink`` resized so that its longer side is ``side``."""
    height, width = ink.shape
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = Image.fromarray(ink.astype(np.float32)).resize(
        size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    )
    return np.clip(np.asarray(resized, np.float64), 0, 255)


def _centre_by_mass(ink: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """Return a ``side`` x ``side`` field that holds ``ink``, centred by mass to whole pixels."""
    field = np.zeros((side, side), np.uint8)
    corner = []
    for axis, length in enumerate(ink.shape):
        mass = ink.sum(axis=1 - axis)
        centre = (mass * np.arange(length)).sum() / mass.sum()
        corner.append(int(np.clip(round(side / 2 - centre), 0, side - length)))
    top, left = corner
    field[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(ink)
    return field
