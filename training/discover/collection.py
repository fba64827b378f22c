"""The images that a run works with, in the order that all its arrays share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.datasets.folder_layout import TRAIN
from training.discover.reading import IMAGES, Image, load_files

CLUSTERS = "clusters"


@dataclass(frozen=True)
class Collection:
    """The images of a run.

    Args:
        run: the run's folder.
        images: N images.
        labels: the names of the K coarse labels.
        coarse: int64 [N], coarse labels 0 to K - 1.
        train: bool [N], the training images.
    """

    run: Path
    images: list[Image]
    labels: list[str]
    coarse: NDArray[np.int64]
    train: NDArray[np.bool_]

    @classmethod
    def of(cls, run: Path) -> "Collection":
        """Return the images that the step ``read`` listed."""
        images = load_files(run)
        labels = sorted({image.coarse for image in images if image.split == TRAIN})
        coarse = np.array([labels.index(image.coarse) for image in images], np.int64)
        return cls(run, images, labels, coarse, np.array([image.split == TRAIN for image in images]))

    @property
    def files(self) -> list[Path]:
        """The file of each image."""
        return [self.run / IMAGES / image.image for image in self.images]

    @property
    def clusters(self) -> NDArray[np.int64]:
        """The cluster of each image within its coarse label, int64 [N], the largest 0."""
        found: NDArray[np.int64] = np.load(self.run / CLUSTERS / "clusters.npy")
        return found

    @property
    def space(self) -> NDArray[np.float32]:
        """The space in which images were clustered, float32 [N, D]."""
        found: NDArray[np.float32] = np.load(self.run / CLUSTERS / "space.npy")
        return found

    def inside(self, label: int, train: bool | None = None) -> NDArray[np.int64]:
        """Return the indices of a coarse label's images: of all, of the training images, or of the others."""
        chosen = self.coarse == label
        return np.flatnonzero(chosen if train is None else chosen & (self.train == train))
