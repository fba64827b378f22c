"""From a drawing or a photograph of a digit to the form of MNIST's digits."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clustnet.bundles.bundle import DIGIT_SHAPE
from clustnet.bundles.decoding import ImageError
from clustnet.bundles.paper import is_even, photographed_ink

DIGIT_BOX_PIXELS = 20
# A share of the range between paper and the darkest ink; what is fainter is noise.
MIN_INK = 0.05
# Width by height. Two digits side by side are wider than one, two in a column narrower, and from WIDE on no digit is as
# wide, so that one of the two may be a 1. Of MNIST's digits with a gap between strokes one in 70,000 is so, a 1.
MIN_PAIR_ASPECT, WIDE_ASPECT, MAX_COLUMN_ASPECT = 0.9, 1.3, 0.45
# The least height and width of each of two digits, as a share of both.
MIN_BESIDE_HEIGHT, MIN_BESIDE_WIDTH = 0.5, 0.25
MIN_COLUMN_HEIGHT, MIN_COLUMN_WIDTH = 0.3, 0.3
# The least share of the ink in each of two digits, which a 1 has beside an 8; less is a speck.
MIN_INK_SHARE = 0.1


def prepare_digit(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a drawing prepared as MNIST's digits were, uint8 [28, 28], 0 paper and 255 ink.

    Ink is made bright, cropped, fitted into 20x20 with its proportions and centred by its mass in 28x28
    (LeCun et al. 1998). Before that, uneven light, noise and ruled lines are taken from a photograph.

    Args:
        grey: uint8 [H, W], dark ink on light paper or the other way round.

    Raises:
        ImageError: one flat colour, paper without ink, or several digits.
    """
    ink = _ink(grey)
    drawn = ink > MIN_INK * 255
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    if _holds_several(drawn[box]):
        raise ImageError("several_digits", "The image shows several digits; crop it to one.")
    return _centre_by_mass(_fitted(ink[box], DIGIT_BOX_PIXELS), DIGIT_SHAPE[0])


def _ink(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return 0 for paper up to 255 for the strongest ink, of a photograph at its reduced size.

    The border shows the paper, and ink is what differs from it most: either the darker or the brighter.
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
    """Return whether two digits lie side by side or in a column, with paper between them; ``drawn`` has no margin."""
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
    """Return whether what lies on one side of a gap is large enough for a digit of its own.

    Args:
        half: bool [H, W], beside columns without ink.
        across: the least extent of its rows with ink.
        along: the least number of its columns.
        ink: the least number of its pixels with ink.
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
    """Return a ``side`` x ``side`` field with ``ink`` laid into it, its mass centred by whole pixels."""
    field = np.zeros((side, side), np.uint8)
    corner = []
    for axis, length in enumerate(ink.shape):
        mass = ink.sum(axis=1 - axis)
        centre = (mass * np.arange(length)).sum() / mass.sum()
        corner.append(int(np.clip(round(side / 2 - centre), 0, side - length)))
    top, left = corner
    field[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(ink)
    return field
