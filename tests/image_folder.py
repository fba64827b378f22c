"""Folders of made-up images: of each class a bright bar in another place, at any size and colour."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("left", "right")


def bar(name: str, generator: np.random.Generator, height: int = 30, width: int = 24) -> Image.Image:
    """Return a noisy colour image with a bar on the side that the class names."""
    pixels = generator.integers(0, 60, (height, width, 3), dtype=np.uint8)
    half = slice(0, width // 2) if name == "left" else slice(width // 2, width)
    pixels[:, half] += np.array([180, 120, 150], np.uint8)
    return Image.fromarray(pixels)


def write_folder(path: Path, train: int = 40, test: int = 10, reference: int = 3) -> Path:
    """Write ``train/`` without classes, ``test/`` and ``reference/`` with so many images of each class."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test), ("reference", reference)):
        for name in CLASSES:
            folder = path / split / ("" if split == "train" else name)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                size = int(generator.integers(20, 60)), int(generator.integers(20, 60))
                bar(name, generator, *size).save(folder / f"{name}_{number:03}.{('png', 'jpg')[number % 2]}")
    return path
