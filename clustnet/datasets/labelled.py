"""The form in which every data set is passed to the rest of the project."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.groups import ALL, UNKNOWN, CoarseGrouping
from clustnet.errors import UserError

__all__ = ["UNKNOWN", "LabelledImages"]


@dataclass(frozen=True)
class LabelledImages:
    """One split of a data set: images with their labels.

    Args:
        name: the data set's name, for example ``mnist``.
        split: ``train``, ``test`` or ``reference``.
        images: uint8 [N, H, W] or [N, H, W, 3], 0 to 255.
        coarse: int64 [N], coarse labels from 0 to K - 1; ``UNKNOWN`` where not known.
        coarse_labels: the names of the K coarse labels; ``("all",)`` for data that have none of their own.
        fine: int64 [N], fine classes from 0 to ``len(classes) - 1``; ``UNKNOWN`` where not known.
        classes: the names of the fine classes; empty if none is known.
        mean: mean per channel, of pixels scaled to 0..1.
        std: standard deviation per channel, likewise.
        files: the file of each image, relative to the folder of the data; None for images without files.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    coarse: NDArray[np.int64]
    coarse_labels: tuple[str, ...]
    fine: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    files: tuple[str, ...] | None = None

    @classmethod
    def of_classes(
        cls,
        name: str,
        split: str,
        images: NDArray[np.uint8],
        fine: NDArray[np.int64],
        classes: tuple[str, ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> "LabelledImages":
        """Return images with fine classes and the single coarse label ``all``; ``grouped`` gives them others."""
        return cls(name, split, images, np.zeros(len(images), np.int64), (ALL,), fine, classes, mean, std)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labelled(self) -> bool:
        """Whether the fine class of every image is known."""
        return bool(self.classes) and bool((self.fine != UNKNOWN).all())

    def first(self, count: int | None) -> "LabelledImages":
        """Return the first ``count`` images, or all of them for None."""
        return self if count is None else self.take(np.arange(len(self))[:count])

    def sample(self, count: int | None) -> "LabelledImages":
        """Return ``count`` images spread over the split (see ``even_sample``), or all of them for None."""
        return self if count is None else self.take(even_sample(len(self), count))

    def take(self, indices: NDArray[np.integer]) -> "LabelledImages":
        """Return the images at the indices, int [M]."""
        return replace(
            self,
            images=self.images[indices],
            coarse=self.coarse[indices],
            fine=self.fine[indices],
            files=None if self.files is None else tuple(self.files[index] for index in indices.tolist()),
        )

    def grouped(self, grouping: CoarseGrouping) -> "LabelledImages":
        """Return the same images with the coarse labels that a grouping gives their fine classes.

        Raises:
            UserError: there are several coarse labels, and the fine class of an image is unknown.
        """
        if grouping.divided and not self.labelled:
            unknown = int((self.fine == UNKNOWN).sum())
            raise UserError(
                f"The coarse labels group classes, but the class of {unknown:,} {self.split} images is unknown; "
                "sort every image into a folder of its class, or sort the images by coarse label."
            )
        return replace(self, coarse=grouping.coarse(self.fine), coarse_labels=grouping.labels)


def even_sample(total: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` of the indices 0 to ``total - 1``, ascending and always the same, or all if there are fewer.

    One index is drawn from each of ``count`` equal stretches, so that no class is missed, whether the split is sorted
    by class or its classes take turns.
    """
    edges = np.arange(min(count, total) + 1) * total // max(1, min(count, total))
    drawn = np.random.default_rng(0).random(len(edges) - 1) * np.diff(edges)
    places: NDArray[np.int64] = edges[:-1] + drawn.astype(np.int64)
    return places
