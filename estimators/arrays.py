"""Checks of the arrays that estimators are given: images, or rows of numbers."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustnet.errors import UserError

Images = NDArray[np.uint8]


def holds_images(X: ArrayLike) -> bool:  # noqa: N803 - scikit-learn's name
    """Return whether an argument has more than two dimensions, as images have, rather than those of rows.

    Raises:
        UserError: the argument is not an array, because its parts have different lengths.
    """
    found: Any = X
    try:
        # np.asarray would turn sparse rows into a single object.
        return int(found.ndim if hasattr(found, "ndim") else np.asarray(found).ndim) > 2
    except ValueError:
        raise UserError("X has parts of different lengths; resize all images to one size and stack them.") from None


def checked_images(X: ArrayLike) -> Images:  # noqa: N803
    """Return an argument as images, uint8 [N, H, W] or [N, H, W, 3].

    Raises:
        UserError: it has another shape or type, or no image.
    """
    images = np.asarray(X)
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3) or 0 in images.shape:
        raise UserError(
            f"X has the shape {list(images.shape)}, but must be images [N, H, W] or [N, H, W, 3], or rows [N, D]."
        )
    if images.dtype != np.uint8:
        raise UserError(
            f"X has images of {images.dtype}, but must have uint8 values from 0 to 255; convert them, as in "
            "(255 * X).astype('uint8') for numbers from 0 to 1."
        )
    return images
