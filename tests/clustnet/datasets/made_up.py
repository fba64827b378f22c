"""Folders of made-up image files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(path: Path, counts: Mapping[str, int], colour: bool = True, extension: str = "png") -> Path:
    """Write so many small images of different sizes into each folder below ``path``, and return ``path``."""
    generator = np.random.default_rng(0)
    for folder, count in counts.items():
        (path / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (*generator.integers(8, 24, 2), 3), dtype=np.uint8)
            image = Image.fromarray(pixels if colour else pixels[:, :, :1].repeat(3, axis=2))
            image.save(path / folder / f"{number}.{extension}")
    return path


def system_files(folder: Path) -> None:
    """Put into a folder what file managers leave there."""
    for name in (".DS_Store", "Thumbs.db", "Desktop.ini", "Icon\r"):
        (folder / name).write_bytes(b"?")
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        (folder / name).mkdir()
        (folder / name / "left.png").write_bytes(b"?")
