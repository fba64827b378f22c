"""The scale of pixels that are passed as numbers."""

from typing import Any

from numpy.typing import NDArray


def unit_scale_fault(images: NDArray[Any]) -> tuple[int, str] | None:
    """Return the index of the first image with pixels scaled from 0 to 1, and a sentence about it; None without one.

    These are images whose largest value is above 0 and at most 1. On a scale from 0 to 255 they would be almost black,
    and the model would still answer them with confidence.

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
