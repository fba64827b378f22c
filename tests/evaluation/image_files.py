"""Labelled images in files, for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clustnet.datasets import LabelledImages


def write_parquet(path: Path, data: LabelledImages, row_group: int = 300) -> Path:
    """Write all images of the data as raw bytes with their labels."""
    return write_columns(path, [image.tobytes() for image in data.images], data.fine.tolist(), row_group)


def write_columns(
    path: Path, images: Sequence[Any], labels: Sequence[Any], row_group: int = 300, column: str = "label"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, column: labels}), path, row_group_size=row_group)
    return path


def write_pictures(folder: Path, data: LabelledImages) -> Path:
    """Write CLASS/INDEX.png for all images, dark ink on white paper."""
    for index, (image, label) in enumerate(zip(data.images, data.fine, strict=True)):
        place = folder / data.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(255) - image).save(place / f"{index:04}.png")
    return folder
