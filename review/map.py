"""The map: all images in two dimensions, by UMAP, computed once and kept in the run."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.files import replacing

NEIGHBOURS, LEAST_IMAGES, MIN_DISTANCE = 15, 30, 0.1
# Coordinates are whole numbers from 0 to this.
SIDE = 10_000
Floats = NDArray[np.float32]


def kept_map(kept: Path, space: Floats) -> Path:
    """Return where the map of a space is kept."""
    return kept / f"map-{hashlib.sha256(space.tobytes()).hexdigest()[:16]}.npy"


def compute(space: Floats, path: Path) -> None:
    """Write the map of a space, int32 [N, 2] from 0 to ``SIDE``; a run that cannot be written to gets none.

    Args:
        space: float32 [N, D].
        path: where the map is kept.
    """
    coordinates = _flat(space)
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    extent = max(float((high - low).max()), 1e-9)
    centred = (coordinates - (low + high) / 2) / extent + 0.5
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.rint(centred * SIDE).astype(np.int32))


def _flat(space: Floats) -> Floats:
    if len(space) >= LEAST_IMAGES:
        # Imported here, because it is slow to import.
        from training.clustering.manifold import manifold

        return manifold(space, NEIGHBOURS, 0, 2, MIN_DISTANCE)
    # Too few for a manifold: the first two dimensions, or as many as there are.
    return np.pad(space, ((0, 0), (0, 2)))[:, :2]
