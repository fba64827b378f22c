"""Near duplicates: other sizes and compressions of one picture, and pictures that are only alike."""

import io

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from training.discover.duplicates import near_duplicates, neighbours


def _pictures(count: int) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(count)]
    return [ImageOps.autocontrast(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(4))) for pixels in noise]


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content)


def _found(pictures: list[Image.Image]) -> list[int]:
    small = np.stack([np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX)) for image in pictures])
    rows = small.reshape(len(small), -1).astype(np.float32)
    return near_duplicates(*neighbours(rows), small).tolist()


def test_other_sizes_and_compressions_are_duplicates() -> None:
    pictures = _pictures(20)
    pictures += [_jpeg(pictures[3], 40), pictures[5].resize((48, 48)), _jpeg(pictures[3], 90)]
    expected = [-1] * 20 + [3, 5, 3]
    assert _found(pictures) == expected


def test_pictures_that_are_alike_are_none() -> None:
    pictures = _pictures(20)
    pictures.append(Image.blend(pictures[0], pictures[1], 0.3))
    assert set(_found(pictures)) == {-1}


def test_embeddings_are_duplicates_if_equal() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)
    rows[7] = rows[2]
    assert near_duplicates(*neighbours(rows), None).tolist() == [-1] * 7 + [2, -1, -1]


def test_one_image_has_no_duplicate() -> None:
    rows = np.ones((1, 4), np.float32)
    assert near_duplicates(*neighbours(rows), None).tolist() == [-1]
