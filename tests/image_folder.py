"""Folders of made-up images: of each class a bright bar in another place, at any size and colour."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("left", "right")
PINK = (180, 120, 150)
# Coarse labels that a bar's colour shows.
COLOURS = {"blue": (0, 60, 190), "green": (40, 190, 0), "red": (190, 20, 20)}


def bar(
    name: str,
    generator: np.random.Generator,
    height: int = 30,
    width: int = 24,
    colour: Sequence[int] = PINK,
) -> Image.Image:
    """Return a noisy colour image with a bar at the place that the class names."""
    pixels = generator.integers(0, 60, (height, width, 3), dtype=np.uint8)
    half = slice(0, width // 2) if name == "left" else slice(width // 2, width)
    pixels[:, half] += np.array(colour, np.uint8)
    return Image.fromarray(pixels)


def write_folder(path: Path, train: int = 40, test: int = 10, reference: int = 3) -> Path:
    """Write ``train/`` without classes, ``test/`` and ``reference/`` with so many images of each class."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test), ("reference", reference)):
        for name in CLASSES:
            _write_bars(path / split / ("" if split == "train" else name), name, count, generator)
    return path


def write_coarse_folder(path: Path, labels: Sequence[str] = tuple(COLOURS), images: int = 20) -> Path:
    """Write one sub-folder of ``images`` for each coarse label; no folder names the places of the bars."""
    generator = np.random.default_rng(0)
    for label in labels:
        for name in CLASSES:
            _write_bars(path / label, name, images // len(CLASSES), generator, COLOURS[label])
    return path


def _write_bars(
    folder: Path, name: str, count: int, generator: np.random.Generator, colour: Sequence[int] = PINK
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        size = int(generator.integers(20, 60)), int(generator.integers(20, 60))
        file = folder / f"{name}_{number:03}.{('png', 'jpg')[number % 2]}"
        bar(name, generator, *size, colour).save(file)
