"""Split a subtype into two or more: its images are clustered again, by k-means on the manifold that they lie on."""

import numpy as np
from numpy.typing import NDArray

from clustnet.corrections.actions import Split
from clustnet.corrections.state import Review
from clustnet.errors import UserError

# UMAP's neighbours, and how many more images than that a manifold needs.
NEIGHBOURS, LEAST_MORE = 15, 10
STARTS, MOST_PARTS = 10, 20
Floats = NDArray[np.float32]


def split(review: Review, space: Floats, subtype: str, parts: int) -> Split:
    """Return the action that divides a subtype; its largest part keeps the id.

    Args:
        review: the subtypes as they are.
        space: the space in which images are compared, float32 [N, D].
        subtype: its id.
        parts: how many parts, 2 to ``MOST_PARTS``.

    Raises:
        UserError: the subtype does not exist, or cannot be split into that many parts.
    """
    coarse, members = review.subtype(subtype).coarse, review.members(subtype)
    if not 2 <= parts <= MOST_PARTS:
        raise UserError(f"A subtype can be split into 2 to {MOST_PARTS} parts, not into {parts}.")
    if len(members) < 2 * parts:
        raise UserError(f"{subtype} has {len(members)} images, too few for {parts} parts.")
    part = divided(space[members], parts)
    files = review.found.files
    return Split(
        subtype=subtype,
        parts={
            review.next_id(coarse, number - 1): tuple(files[place] for place in members[part == number])
            for number in range(1, part.max() + 1)
        },
    )


def divided(rows: Floats, parts: int) -> NDArray[np.int64]:
    """Return the part of each row, int64 [N], the largest 0; the same rows are always divided alike.

    Raises:
        UserError: fewer than ``parts`` rows are distinct.
    """
    # Imported here, because they are slow to import.
    from sklearn.cluster import KMeans

    from training.clustering.manifold import manifold
    from training.discover.clustering import largest_first

    if len(np.unique(rows, axis=0)) < parts:
        raise UserError(f"The images are too similar to be divided into {parts} parts.")
    coordinates = manifold(rows, NEIGHBOURS, seed=0) if len(rows) >= NEIGHBOURS + LEAST_MORE else rows
    found = KMeans(parts, n_init=STARTS, random_state=0).fit_predict(coordinates)
    return largest_first(np.unique(found, return_inverse=True)[1].astype(np.int64))
