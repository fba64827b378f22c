"""What both estimators share: tags for images as input, and the seed."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state


class TakesImages:
    """A mixin for estimators that take images and transform them to float32; list it before scikit-learn's own."""

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags."""
        tags: Any = super().__sklearn_tags__()  # type: ignore[misc] # of scikit-learn's classes
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Return the seed that a parameter ``random_state`` stands for; None gives a new one each time."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
