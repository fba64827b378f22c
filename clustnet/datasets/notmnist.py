"""notMNIST, the letters A to J in many typefaces, from a folder that the user names.

Yaroslav Bulatov, "notMNIST dataset", 2011. Some of its letters are mislabelled or unreadable.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.datasets.data_set import DataSet
from clustnet.datasets.idx import parse_idx
from clustnet.datasets.labelled import LabelledImages
from clustnet.errors import UserError

CLASSES = tuple("ABCDEFGHIJ")
MEAN, STD = (0.4270,), (0.4590,)
SIDE = 28
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
# The images have 8 MB.
MAX_FILE_BYTES = 64 * 2**20


def load_notmnist(split: str, path: Path | None = None) -> LabelledImages:
    """Return a split of notMNIST: images uint8 [N, 28, 28] (0 paper, 255 ink), fine classes int64 [N].

    Both splits come from the 10,000 cleaner letters that are the set's usual test part, a thousand of each. The first
    four fifths of each letter, in the files' order, are ``train`` (8,000), and the last fifth is ``test`` (2,000).

    Args:
        split: ``train`` or ``test``.
        path: the folder of ``t10k-images-idx3-ubyte.gz`` and ``t10k-labels-idx1-ubyte.gz``.

    Raises:
        UserError: there is no path, a file is missing or damaged, or the content is not notMNIST's.
    """
    if path is None:
        raise UserError(f"notMNIST is not part of this repository; name the folder of {IMAGES} as the data path.")
    images, labels = _read(path / IMAGES), _read(path / LABELS).astype(np.int64)
    if images.shape != (len(labels), SIDE, SIDE) or labels.ndim != 1:
        raise UserError(
            f"{path} holds images {list(images.shape)} and labels {list(labels.shape)}; "
            "notMNIST is [N, 28, 28] and [N], so get both files again."
        )
    if labels.size and labels.max() >= len(CLASSES):
        raise UserError(f"{path} holds the label {labels.max()}; notMNIST has 0 (A) to 9 (J), so get it again.")
    chosen = _members(labels, split)
    if len(chosen) == 0:
        raise UserError(f"{path} holds no {split} images; get the whole set.")
    return LabelledImages.of_classes("notmnist", split, images[chosen], labels[chosen], CLASSES, MEAN, STD)


def _members(labels: NDArray[np.int64], split: str) -> NDArray[np.int64]:
    """Return the indices of a split in ascending order, which keeps the mixed order of the files."""
    members = [np.flatnonzero(labels == letter) for letter in range(len(CLASSES))]
    cuts = [len(found) * 4 // 5 for found in members]
    kept = [found[:cut] if split == "train" else found[cut:] for found, cut in zip(members, cuts, strict=True)]
    return np.sort(np.concatenate(kept))


def _read(path: Path) -> NDArray[np.uint8]:
    """Return the array in a gzipped IDX file of unsigned bytes."""
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        raise UserError(f"The notMNIST file {path} is missing; name the folder that holds it.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"The notMNIST file {path} cannot be unpacked ({error}); get it again.") from None
    return parse_idx(content, str(path))


DATA_SET = DataSet(load_notmnist, CLASSES)
