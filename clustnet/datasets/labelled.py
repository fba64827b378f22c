"""The form in which every data set reaches the rest of the project."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1  # the label of an image whose class nobody has told


@dataclass(frozen=True)
class LabelledImages:
    """One split of a labelled image set.

    Args:
        name: the data set's name, for example ``mnist``.
        split: ``train`` or ``test``.
        images: uint8 [N, H, W] or [N, H, W, 3], 0 to 255.
        labels: int64 [N], fine classes from 0 to ``len(classes) - 1``; ``UNKNOWN`` where it is not told.
        classes: the names of the fine classes.
        mean: per channel, of pixels scaled to 0..1 (published constants of the training split).
        std: per channel, likewise.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labelled(self) -> bool:
        """Whether the class of every image is told."""
        return bool((self.labels != UNKNOWN).all())

    def first(self, count: int | None) -> "LabelledImages":
        """Return the first ``count`` images (all of them for None)."""
        return replace(self, images=self.images[:count], labels=self.labels[:count])
