"""Extraction of the ink from photographed paper: uneven light, camera noise and ruled lines are removed.

The steps use plain numpy on a reduced image, because OpenCV or SciPy alone would be larger than the whole service.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

# A digit is reduced to 20 pixels a side, so a photograph needs no more than this.
WORK_PIXELS = 256
# The side of the reduced page to which the light is fitted.
LIGHT_PIXELS = 48
# Shares of the strongest ink: for the core of a stroke, and for the faintest ink beside a core.
STRONG_INK, WEAK_INK = 0.5, 0.2
# From the core of a stroke to its edge; fainter ink farther away is dirt or noise.
EDGE_PIXELS = 3
# The least contrast of ink: in standard deviations of the noise, and in grey levels.
MIN_DEVIATIONS, MIN_CONTRAST_LEVELS = 8, 24
# The slopes at which ruled lines are looked for: up to about six degrees.
LINE_SLOPES = np.linspace(-0.1, 0.1, 27)
MIN_LINE_LEVELS = 2.0
# Images up to this size, such as MNIST's, are too small for a photograph's lines and noise.
MAX_THUMBNAIL_PIXELS = 32
# Shadows, noise and lines on a page without ink differ less from it than this.
MIN_STROKE_LEVELS = 64
# The side of the blocks in which JPEG leaves ringing.
BLOCK_PIXELS = 8
# How far a blurred stroke fades out, as a share of the longer side.
SOFT_EDGE = 0.1
# A share of the faintest ink: if paper at the border varies by more than this, paper elsewhere may look like ink.
UNEVEN_PAPER = 0.6
# A single pixel may be a speck.
MIN_UNEVEN_PIXELS = 2
# The maximum of many noisy pixels, as a multiple of their upper quartile.
NOISE_PEAK = 4
# The standard deviation of normal noise whose median absolute value is 1.
DEVIATION_OF_MEDIAN = 1.4826
# What smoothing by 1-2-1 along both axes leaves of the standard deviation of independent noise.
SMOOTHED_NOISE = 0.375


def is_even(grey: NDArray[np.uint8], paper: float, faintest: float, strongest: float) -> bool:
    """Return whether the border of an image is even paper with nothing on it but ink that extends to it.

    Args:
        grey: uint8 [H, W].
        paper: the grey level of the paper.
        faintest: the difference from the paper, in levels, from which a pixel counts as ink.
        strongest: the greatest difference from the paper in the image.
    """
    if max(grey.shape) <= MAX_THUMBNAIL_PIXELS:
        return True
    reach = max(BLOCK_PIXELS, round(SOFT_EDGE * max(grey.shape)))
    # A smaller difference may be light or noise alone.
    threshold = STRONG_INK * strongest if strongest >= MIN_STROKE_LEVELS else math.inf
    stroke = [((band < paper - threshold) | (band > paper + threshold)).any(axis=0) for band in _bands(grey, reach)]
    # The soft edge of a stroke that ends near the border lies on the border.
    near = _within(np.concatenate(stroke), reach)
    rest = np.abs(np.concatenate([band[0] for band in _bands(grey, 1)])[~near] - np.float32(paper))
    if len(rest) < len(near) / 4:
        return True
    uneven = int((rest > UNEVEN_PAPER * faintest).sum())
    # Inside the image there are more pixels than on the border, so noise reaches higher there.
    return uneven < MIN_UNEVEN_PIXELS and float(np.quantile(rest, 0.75)) * NOISE_PEAK <= faintest


def _bands(grey: NDArray[np.uint8], depth: int) -> list[NDArray[np.uint8]]:
    """Return the outer pixels along the four sides, clockwise, each [depth, side] with the border first."""
    return [grey[:depth], grey[:, : -depth - 1 : -1].T, grey[: -depth - 1 : -1, ::-1], grey[::-1, :depth].T]


def _within(marked: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Return which positions on a ring are within ``reach`` of a marked one."""
    counts = np.cumsum(np.pad(marked, (reach + 1, reach), mode="wrap"), dtype=np.int64)
    return counts[2 * reach + 1 :] > counts[: -2 * reach - 1]


def photographed_ink(grey: NDArray[np.uint8]) -> Floats:
    """Return the ink on a photographed page, from 0 for paper to 255 for strokes; all 0 if nothing stands out.

    Args:
        grey: uint8 [H, W]. The result is reduced to at most ``WORK_PIXELS`` a side.
    """
    page = _reduced(grey, WORK_PIXELS)
    light = _light(page)
    difference = light - page
    # Less light makes ink and paper darker by the same factor.
    difference *= light.mean() / np.maximum(light, 1)
    for axis in (0, 1):
        difference = _without_lines(difference, axis)
    noise = DEVIATION_OF_MEDIAN * float(np.median(np.abs(difference)))
    smooth = _smoothed(difference)
    if -smooth.min() > smooth.max():
        smooth = -smooth
    peak = float(smooth.max())
    faintest = max(WEAK_INK * peak, 4 * SMOOTHED_NOISE * noise)
    if peak < max(MIN_CONTRAST_LEVELS, MIN_DEVIATIONS * SMOOTHED_NOISE * noise):
        return np.zeros_like(smooth)
    strong = smooth > STRONG_INK * peak
    stroke = _grown(_grown(strong, EDGE_PIXELS) & (smooth > faintest), 1)
    full = float(np.quantile(smooth[strong], 0.9))
    return np.where(stroke & (smooth > 0.5 * faintest), np.clip(smooth * (255 / full), 0, 255), 0).astype(np.float32)


def _reduced(grey: NDArray[np.uint8], side: int) -> Floats:
    """Return the image with at most ``side`` pixels a side."""
    image = Image.fromarray(grey)
    scale = side / max(image.size)
    if scale < 1:
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX
        )
    return np.asarray(image, np.float32)


def _light(page: Floats) -> Floats:
    """Return how bright the paper would be without ink: a quadratic surface plus slow deviations from it."""
    height, width = page.shape
    scale = min(1.0, LIGHT_PIXELS / max(page.shape))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(page).resize(size, Image.Resampling.BOX), np.float32)
    y, x = np.meshgrid(*(np.linspace(-1, 1, length) for length in small.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    values = small.ravel().astype(np.float64)
    paper = np.abs(values - np.median(values)) <= np.quantile(np.abs(values - np.median(values)), 0.7)
    for _ in range(6):
        surface = terms @ np.linalg.lstsq(terms[paper], values[paper], rcond=None)[0]
        rest = np.abs(values - surface)
        paper = rest <= max(2.5 * DEVIATION_OF_MEDIAN * float(np.median(rest)), 1.5)
    rest = (values - surface).reshape(small.shape)
    clear = ~_grown(~paper.reshape(small.shape), 1)
    # The slow deviations are local means over paper, which shrink to 0 where there is little paper nearby.
    reach = max(1, max(small.shape) // 8)
    slow = _box(np.where(clear, rest, 0), reach) / (_box(clear.astype(np.float64), reach) + 0.1)
    light = (surface.reshape(small.shape) + slow).astype(np.float32)
    return np.asarray(Image.fromarray(light).resize((width, height), Image.Resampling.BILINEAR), np.float32)


def _without_lines(ink: Floats, axis: int) -> Floats:
    """Return the ink without straight lines that run from border to border, along rows (0) or columns (1)."""
    across = ink if axis == 0 else ink.T
    height, width = across.shape
    if height < 8 or width < 24:
        return ink
    columns = np.arange(0, width, max(1, width // 32))
    rows = np.arange(height)[:, None]
    best, strength = None, 0.0
    for slope in LINE_SLOPES:
        moved = np.clip(rows + np.rint(slope * (columns - width / 2)).astype(int), 0, height - 1)
        profile = _line_profile(across[moved, columns])
        total = float((profile**2).sum())
        if total > strength:
            best, strength = slope, total
    if best is None:
        return ink
    columns = np.arange(width)
    shift = np.rint(best * (columns - width / 2)).astype(int)
    profile = _line_profile(across[np.clip(rows + shift, 0, height - 1), columns])
    # A line that is off by a pixel lies in the next row.
    profile = np.maximum(profile, 0.8 * np.maximum(np.roll(profile, 1), np.roll(profile, -1)))
    line = profile[np.clip(rows - shift, 0, height - 1)]
    without = np.where((line > 0) & (across < 2 * line), np.minimum(across, np.maximum(across - line, 0)), across)
    return without if axis == 0 else without.T


def _line_profile(sheared: Floats) -> Floats:
    """Return how dark the line in each row is, 0 where no line spans the whole width."""
    thirds = [np.median(third, axis=1) for third in np.array_split(sheared, 3, axis=1)]
    least = np.min(thirds, axis=0)
    least -= np.median(least)
    deviation = DEVIATION_OF_MEDIAN * float(np.median(np.abs(least)))
    return np.where(least > max(MIN_LINE_LEVELS, 4 * deviation), least, 0).astype(np.float32)


def _smoothed(values: Floats) -> Floats:
    """Return a weighted mean over 3x3 pixels, 1-2-1 along both axes."""
    wide = np.pad(values, 1, mode="edge")
    tall = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
    return np.asarray((tall[:, :-2] + 2 * tall[:, 1:-1] + tall[:, 2:]) / 4, np.float32)


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Return the mask grown by ``by`` pixels, diagonals included."""
    for _ in range(by):
        wide = np.pad(mask, 1)
        tall = wide[:-2] | wide[1:-1] | wide[2:]
        mask = tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]
    return mask


def _box(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Return the mean over the square that extends ``reach`` pixels from each pixel, taking 0 outside the image."""
    for axis in (0, 1):
        sums = np.cumsum(np.pad(values, [(reach + 1, reach) if axis == a else (0, 0) for a in (0, 1)]), axis=axis)
        length = values.shape[axis]
        high = np.take(sums, np.arange(2 * reach + 1, 2 * reach + 1 + length), axis=axis)
        values = (high - np.take(sums, np.arange(length), axis=axis)) / (2 * reach + 1)
    return values
