"""What both estimators share: images of three dimensions or four, and the seed."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state


class TakesImages:
    """A mixin of estimators that take images and transform them to float32; it comes before scikit-learn's own."""

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags."""
        tags: Any = super().__sklearn_tags__()  # type: ignore[misc] # of scikit-learn's classes
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Return the seed that a parameter ``random_state`` stands for; another one each time for None."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
