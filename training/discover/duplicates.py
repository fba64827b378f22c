"""Near duplicates: the same picture at another size or compression. The embedding proposes, the thumbnails decide."""

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 5
# Root mean square difference between two thumbnails, in grey levels of 0 to 255; recompression causes about 2.
MOST_DIFFERENCE = 4.0
# The limit is also a share of a thumbnail's standard deviation, so that faint pictures are not all duplicates, but at
# least 1 level, which nobody can see.
MOST_SHARE, LEAST_DIFFERENCE = 0.15, 1.0
# Largest distance between embeddings of duplicates, as a share of the median distance to the nearest neighbour.
MOST_DISTANCE = 0.6
# Largest distance between embeddings that are equal up to rounding.
EQUAL = 1e-6
# For more images than this, neighbours are found approximately.
EXACT_IMAGES = 20_000
NONE = -1

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def neighbours(rows: Floats) -> tuple[Floats, Labels]:
    """Return the distances and the indices of each row's nearest neighbours, [N, 5], or fewer if there are fewer rows.

    Args:
        rows: float32 [N, D].
    """
    count = min(NEIGHBOURS, len(rows) - 1)
    if count < 1:
        return np.zeros((len(rows), 1), np.float32), np.zeros((len(rows), 1), np.int64)
    if len(rows) <= EXACT_IMAGES:
        found: tuple[Floats, Labels] = NearestNeighbors(n_neighbors=count).fit(rows).kneighbors()
        return found
    # Imported here, because compiling it takes seconds.
    from pynndescent import NNDescent

    nearest, distances = NNDescent(rows, n_neighbors=count + 1, random_state=0).neighbor_graph
    return distances[:, 1:], nearest[:, 1:]


def near_duplicates(distances: Floats, nearest: Labels, thumbnails: NDArray[np.uint8] | None) -> Labels:
    """Return the index of each image's first near duplicate, int64 [N]; -1 if it is the first itself or has none.

    Args:
        distances: distances that ``neighbours`` returns.
        nearest: indices that ``neighbours`` returns.
        thumbnails: uint8 [N, 16, 16]; None for embeddings without images, of which only equal ones are duplicates.
    """
    first = np.arange(len(distances))
    most = EQUAL if thumbnails is None else MOST_DISTANCE * np.median(distances[:, 0])
    for image, other in np.argwhere(distances <= most).tolist():
        twin = int(nearest[image, other])
        if thumbnails is None or same(thumbnails[image], thumbnails[twin]):
            _join(first, image, twin)
    roots = np.array([_root(first, image) for image in range(len(first))])
    return np.where(roots == np.arange(len(first)), NONE, roots)


def same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Return whether two thumbnails show the same picture."""
    difference = float(np.sqrt(np.mean((one.astype(np.float64) - other) ** 2)))
    return difference <= min(MOST_DIFFERENCE, max(LEAST_DIFFERENCE, MOST_SHARE * float(one.std())))


def _root(first: Labels, image: int) -> int:
    while first[image] != image:
        image = int(first[image])
    return image


def _join(first: Labels, one: int, other: int) -> None:
    """Join the groups of two images into one, for which the first of all its images stands."""
    low, high = sorted((_root(first, one), _root(first, other)))
    first[high] = low
