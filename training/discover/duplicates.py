"""Near duplicates: the same picture at another size or compression. The embedding proposes, the thumbnails decide."""

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 5
# Grey levels of 255 between two thumbnails, root of the mean square; a new compression makes a difference of about 2.
MOST_DIFFERENCE = 4.0
# Of a thumbnail's own standard deviation, so that faint pictures are not all alike; under 1 level nothing is seen.
MOST_SHARE, LEAST_DIFFERENCE = 0.15, 1.0
# Of the median distance of an image from its nearest.
MOST_DISTANCE = 0.6
# Between embeddings that are equal but for rounding.
EQUAL = 1e-6
# Above it neighbours are found approximately.
EXACT_IMAGES = 20_000
NONE = -1

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def neighbours(rows: Floats) -> tuple[Floats, Labels]:
    """Return the distances and the places of each row's nearest others, [N, 5], or as many as there are.

    Args:
        rows: float32 [N, D].
    """
    count = min(NEIGHBOURS, len(rows) - 1)
    if count < 1:
        return np.zeros((len(rows), 1), np.float32), np.zeros((len(rows), 1), np.int64)
    if len(rows) <= EXACT_IMAGES:
        found: tuple[Floats, Labels] = NearestNeighbors(n_neighbors=count).fit(rows).kneighbors()
        return found
    # It is imported here because it compiles itself for seconds.
    from pynndescent import NNDescent

    nearest, distances = NNDescent(rows, n_neighbors=count + 1, random_state=0).neighbor_graph
    return distances[:, 1:], nearest[:, 1:]


def near_duplicates(distances: Floats, nearest: Labels, thumbnails: NDArray[np.uint8] | None) -> Labels:
    """Return for each image the first one that it nearly equals, int64 [N]; -1 where it is the first or alone.

    Args:
        distances: distances as ``neighbours`` returns them.
        nearest: likewise.
        thumbnails: uint8 [N, 16, 16]; None for embeddings without images, and then only equal rows count.
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
    """Let both and all that equal them have the first of them."""
    low, high = sorted((_root(first, one), _root(first, other)))
    first[high] = low
