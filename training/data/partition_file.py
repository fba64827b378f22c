"""A partition in a file: which cluster of its coarse label each training image belongs to."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.datasets.folder_layout import TRAIN, split_files
from clustnet.errors import UserError

NONE = -1


def training_files(folder: Path) -> list[str]:
    """Return the training images' files, relative to the folder, in the order in which ``load_folder`` loads them."""
    files = split_files(folder, TRAIN)
    order = np.random.default_rng(0).permutation(len(files))
    return [files[place].relative_to(folder).as_posix() for place in order]


def read_partition(path: Path, files: Sequence[str]) -> NDArray[np.int64]:
    """Return the cluster of each file, int64 [N], 0 or more; -1 where the table does not have it.

    Args:
        path: a table with the columns ``file``, relative to the folder of the data, and ``cluster``, numbered from 0
            within each coarse label.
        files: files as ``training_files`` returns them.

    Raises:
        UserError: the table cannot be read, has none of the files, or has a cluster below -1.
    """
    try:
        with path.open(newline="", encoding="utf-8") as table:
            found = {row["file"]: int(row["cluster"]) for row in csv.DictReader(table)}
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"The partition {path} cannot be read ({error}); give it the columns file and cluster."
        ) from None
    clusters = np.array([found.get(file, NONE) for file in files], np.int64)
    if (clusters == NONE).all():
        raise UserError(f"The partition {path} lists none of the training images; write their names as {files[0]!r}.")
    if clusters.min() < NONE:
        raise UserError(f"The partition {path} has the cluster {clusters.min()}; number clusters from 0.")
    return clusters
