"""The weight of each representation, which rises with how well its neighbourhoods separate coarse labels.

``coarse_error`` is how often most of an image's neighbours have another coarse label. It needs no fine classes.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.methods.clustnet.representations import coarse_error

# A representation with a smaller weight only blurs the others.
LEAST_WEIGHT = 0.6

Floats = NDArray[np.float32]


def weigh(
    rows: Mapping[str, Floats], coarse: NDArray[np.int64], seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the coarse error of each representation, and the weights of those that count.

    The best has the weight 1; the weight of any other is the best's error divided by its own. With one coarse label
    there is no error, and all have the weight 1.

    Args:
        rows: for each representation, float32 [N, D], the training images.
        coarse: int64 [N], coarse labels 0 to K - 1.
        seed: seeds the sample of images that neighbours vote on.
    """
    if coarse.max() == 0:
        return {}, dict.fromkeys(rows, 1.0)
    errors = {name: coarse_error(found, coarse, seed) for name, found in rows.items()}
    least = min(errors.values())
    weights = {name: least / error for name, error in errors.items()}
    return errors, {name: weight for name, weight in weights.items() if weight >= LEAST_WEIGHT}


def joined(rows: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """Return one space of all representations that count, float32 [N, D]; each has its weight as standard deviation.

    Args:
        rows: for each representation, float32 [N, D].
        weights: weights of those that count.
    """
    parts = []
    for name, weight in weights.items():
        found = rows[name]
        scale = weight / max(float(np.sqrt(found.var(axis=0).sum())), 1e-12)
        parts.append(found * scale)
    space: Floats = np.concatenate(parts, axis=1).astype(np.float32)
    return space
