"""Made-up photographs of digits on paper."""

import io
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Kind = Literal["clean", "shadow", "noise", "ruled", "all"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Floats = NDArray[np.float64]
Point = tuple[float, float]


def _arc(x: float, y: float, width: float, height: float, start: float, end: float) -> list[Point]:
    angles = np.radians(np.linspace(start, end, 24))
    return [(x + width * float(np.cos(angle)), y + height * float(np.sin(angle))) for angle in angles]


# The strokes of each digit in a box of width 1 and height 1.6.
STROKES: dict[int, list[list[Point]]] = {
    0: [_arc(0.5, 0.8, 0.45, 0.78, 0, 360)],
    1: [[(0.5, 0.0), (0.5, 1.6)]],
    2: [[*_arc(0.5, 0.45, 0.42, 0.43, 190, 390), (0.05, 1.55), (0.98, 1.55)]],
    3: [[*_arc(0.45, 0.4, 0.42, 0.38, 200, 450), *_arc(0.45, 1.18, 0.48, 0.4, 270, 510)]],
    4: [[(0.65, 0.0), (0.02, 1.05), (1.0, 1.05)], [(0.7, 0.55), (0.7, 1.6)]],
    5: [[(0.92, 0.05), (0.2, 0.05), (0.15, 0.7), *_arc(0.45, 1.1, 0.48, 0.47, 230, 500)]],
    6: [[(0.75, 0.0), (0.3, 0.6), *_arc(0.5, 1.15, 0.42, 0.42, 200, 560)]],
    7: [[(0.02, 0.05), (0.97, 0.05), (0.4, 1.6)]],
    8: [_arc(0.5, 0.4, 0.36, 0.38, 0, 360), _arc(0.5, 1.18, 0.44, 0.4, 0, 360)],
    9: [[*_arc(0.5, 0.42, 0.4, 0.4, 0, 360), (0.9, 0.45), (0.75, 1.6)]],
}


def drawn(digit: int, side: int, generator: np.random.Generator) -> Floats:
    """Return the ink of a digit in strokes of any width and slant, somewhere on a square page: 0 to 1."""
    # Twice as large, for soft edges.
    page = 2 * side
    image = Image.new("L", (page, page))
    pen = ImageDraw.Draw(image)
    scale = generator.uniform(0.35, 0.65) * page / 1.6
    width = max(2, round(generator.uniform(0.02, 0.07) * page))
    angle = np.radians(generator.uniform(-10, 10))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = page / 2 + generator.uniform(-0.12, 0.12, 2) * page
    for stroke in STROKES[digit]:
        points = (np.array(stroke) - (0.5, 0.8)) @ turn * scale + centre
        pen.line([(x, y) for x, y in points], fill=255, width=width, joint="curve")
        for x, y in points:
            pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), float) / 255


def enlarged(digit: NDArray[np.uint8], shape: tuple[int, int], generator: np.random.Generator) -> Floats:
    """Return the ink of an MNIST digit, turned a little and enlarged, somewhere on a page of this shape: 0 to 1."""
    side = int(generator.uniform(0.55, 0.95) * min(shape))
    image = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    grey = np.asarray(image.rotate(generator.uniform(-8, 8), Image.Resampling.BICUBIC), float)
    # Half of them are sharp, as of a felt pen.
    ink = np.clip((grey - 60) / 120, 0, 1) if generator.random() < 0.5 else grey / 255
    page = np.zeros(shape)
    top, left = (int(generator.integers(0, length - side + 1)) for length in shape)
    page[top : top + side, left : left + side] = ink
    return page


def photographed(ink: Floats, kind: Kind, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return a photograph of a page, [H, W]: dark ink on light paper, with the faults of its kind.

    Args:
        ink: 0 to 1, [H, W].
        kind: ``shadow`` darkens to 0.88 across the page, ``noise`` has a deviation of up to 5 levels, ``ruled`` up to
            16 levels of contrast; ``all`` has a little less of each.
        generator: chooses strengths, paper, ink, directions, distances and the quality of the JPEG.
    """
    page = np.full(ink.shape, generator.uniform(205, 250))
    if kind in ("ruled", "all"):
        page -= _lines(page.shape, generator)
    page = page * (1 - ink) + generator.uniform(20, 90) * ink
    if kind in ("shadow", "all"):
        page *= 1 - generator.uniform(0.04, 0.12 if kind == "shadow" else 0.1) * _slope(page.shape, generator)
    if kind in ("noise", "all"):
        page += generator.normal(size=page.shape) * generator.uniform(2, 5 if kind == "noise" else 4)
    content = io.BytesIO()
    photograph = np.clip(page, 0, 255).round().astype(np.uint8)
    Image.fromarray(photograph).save(content, "JPEG", quality=int(generator.integers(75, 96)))
    with Image.open(content) as image:
        return np.asarray(image)


def _lines(shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
    rows, columns = np.indices(shape)
    distance = generator.uniform(0.07, 0.2) * shape[0]
    slant = np.tan(np.radians(generator.uniform(-3, 3)))
    half = generator.choice([1, 1.5, 2])
    place = (rows + slant * columns + generator.uniform(0, distance)) % distance
    return np.asarray(generator.uniform(6, 16) * np.clip(half - np.abs(place - half), 0, 1))


def _slope(shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
    """Return 0 to 1 across a page in any direction, in a straight line or like the edge of a shadow."""
    rows, columns = np.indices(shape)
    angle = generator.uniform(0, 2 * np.pi)
    height = np.cos(angle) * columns / shape[1] + np.sin(angle) * rows / shape[0]
    height = (height - height.min()) / np.ptp(height)
    return np.asarray(height if generator.random() < 0.7 else 1 / (1 + np.exp(-8 * (height - 0.5))))
