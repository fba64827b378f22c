"""The scale of pixels that were handed over as numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError


def check_scale(images: NDArray[Any]) -> None:
    """Raise where pixels are not from 0 to 255.

    Args:
        images: numbers [N, ...], an image in each row.

    Raises:
        UserError: it names the first such image, its fault and its scale.
    """
    if not images.size or images.dtype == bool:
        images = images.astype(np.uint8)
    rows = images.reshape(len(images), -1) if images.size else images.reshape(0, 1)
    # A minimum or maximum of a row with nan is nan, which no comparison accepts.
    least, most = rows.min(axis=1), rows.max(axis=1)
    right = (least >= 0) & ((most > 1) & (most <= 255) | (most == 0))
    if not right.all():
        index = int(np.argmin(right))
        raise UserError(f"Image {index}: {scale_fault(rows[index])}.")


def scale_fault(image: NDArray[Any]) -> str | None:
    """Return what is wrong with the scale of an image's pixels, for a sentence; None where they are from 0 to 255.

    An image of zeros is accepted. An image whose largest value is 1 counts as scaled from 0 to 1: on a scale from 0 to
    255 it would be almost black.

    Args:
        image: numbers of any shape, at least one.
    """
    least, most = image.min(), image.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        return "its pixels hold values that are no numbers; send values from 0 to 255"
    if least < 0:
        return (
            f"its pixels are on a scale from {least:g} to {most:g}, as if standardised, but 0 to 255 are expected; "
            "send them as they were before"
        )
    if most > 255:
        return f"its pixels are on a scale from {least:g} to {most:g}, but 0 to 255 are expected; scale them down"
    if 0 < most <= 1:
        return (
            f"its pixels are on a scale from 0 to 1 (the largest is {most:g}), but 0 to 255 are expected; "
            "multiply them by 255"
        )
    return None
