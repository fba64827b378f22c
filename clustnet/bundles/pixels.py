"""The scale of pixels that were handed over as numbers."""

from typing import Any

from numpy.typing import NDArray


def unit_scale_fault(images: NDArray[Any]) -> tuple[int, str] | None:
    """Return the first image whose pixels are scaled from 0 to 1: its index and a sentence; None without such an image.

    An image counts as scaled so if its largest value is at most 1 and not 0: on a scale from 0 to 255 it would be
    almost black, and be answered with confidence.

    Args:
        images: numbers from 0 to 255 [N, ...], N >= 1.
    """
    largest = images.reshape(len(images), -1).max(axis=1)
    scaled = (largest > 0) & (largest <= 1)
    if not scaled.any():
        return None
    index = int(scaled.argmax())
    sentence = (
        f"its pixels are on a scale from 0 to 1 (the largest is {largest[index]:g}), but 0 to 255 are expected; "
        "multiply them by 255."
    )
    return index, sentence
