"""From the subtype of each image to the table that a person looks at: outliers, suspects, near duplicates."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.datasets.folder_layout import TEST, TRAIN
from training.discover import duplicates, subtypes
from training.discover.subtypes import Assignment, Row
from training.discover.suspects import suspects


class Images(NamedTuple):
    """N images with what is known of them.

    Args:
        files: their names.
        coarse: int64 [N], coarse labels 0 to K - 1.
        labels: the names of the K coarse labels.
        train: bool [N], the training images.
    """

    files: Sequence[str]
    coarse: NDArray[np.int64]
    labels: Sequence[str]
    train: NDArray[np.bool_]


def table(
    images: Images,
    space: NDArray[np.float32],
    thumbnails: NDArray[np.uint8] | None,
    assignment: Assignment,
    seed: int,
) -> list[Row]:
    """Return a row for each image.

    Args:
        images: the images.
        space: the space in which images are compared, float32 [N, D].
        thumbnails: uint8 [N, 16, 16]; None for embeddings without images.
        assignment: the subtype of each image.
        seed: seeds the folds by which suspects are found.
    """
    wrong = suspects(space, images.coarse, images.train, seed)
    distance, nearest = duplicates.neighbours(space)
    twins = duplicates.near_duplicates(distance, nearest, thumbnails)
    typical = subtypes.typicality(space, assignment.subtype)
    far = subtypes.outliers(distance[:, -1])
    titles = assignment.titles or assignment.names
    return [
        Row(
            file=file,
            split=TRAIN if images.train[place] else TEST,
            coarse=images.labels[images.coarse[place]],
            subtype=assignment.names[assignment.subtype[place]],
            name=titles[assignment.subtype[place]],
            confidence=float(assignment.confidence[place]),
            typicality=float(typical[place]),
            outlier=int(far[place]),
            suspect="" if wrong[place] < 0 else images.labels[wrong[place]],
            duplicate_of="" if twins[place] < 0 else images.files[twins[place]],
        )
        for place, file in enumerate(images.files)
    ]
