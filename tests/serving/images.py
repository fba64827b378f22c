"""Image files made in memory."""

import io

from PIL import Image, ImageDraw


def drawing(size: tuple[int, int] = (60, 80), kind: str = "PNG") -> bytes:
    """A dark stroke on white paper, as a file of the given kind."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).line((20, 10, 30, 70), "black", width=6)
    return encoded(image, kind)


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()
