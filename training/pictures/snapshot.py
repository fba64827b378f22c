"""What is kept of an epoch, in a small file beside the pictures, so that later epochs can be drawn beside it."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.files import replacing

Floats = NDArray[np.float32]
# The quantiles of the certainties that are kept.
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Snapshot:
    """One drawn epoch.

    Args:
        epoch: int64 [1], the epoch's number.
        certainty: float32 [5], ``QUANTILES`` of the largest routing weights of the images.
        flat: float32 [M, 2], the embedding of some images in the plane.
        experts: int64 [M], the most probable experts of these images.
        filters: float32 [E, F, H, W], F filters of each expert; of size 0 where there are none.
        activations: float32 [I, E, H, W], what the experts make of some images; of size 0 where there are none.
    """

    epoch: NDArray[np.int64]
    certainty: Floats
    flat: Floats
    experts: NDArray[np.int64]
    filters: Floats
    activations: Floats

    @property
    def number(self) -> int:
        """The number of the epoch."""
        return int(self.epoch[0])

    def write(self, path: Path) -> None:
        """Write the snapshot as an .npz file."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def read(cls, path: Path) -> "Snapshot":
        """Return what ``write`` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def certainty(routing: Floats) -> Floats:
    """Return the largest routing weight of each image, float32 [N]."""
    largest: Floats = routing.max(axis=1)
    return largest
