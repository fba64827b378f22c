"""The class map: which fine class each cell (one expert x one coarse label) stands for."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.routing import Floats, cell_probability

# A cell that few reference images reach stays near uniform instead of claiming a class.
PRIOR_IMAGES = 0.1
LEAST_LEAD = 0.05  # of a cluster's class over the mean, for the cluster to stand for it


def fit_class_map(
    weights: Floats, expert_probability: Floats, labels: NDArray[np.integer], classes: int, coarse: int = 2
) -> NDArray[np.float64]:
    """Fit the class map from labelled reference images, as the expected class counts of each cell.

    Each image counts in each cell by the cell's probability; a symmetric Dirichlet prior worth
    ``PRIOR_IMAGES`` an entry keeps cells without images uniform.

    Args:
        weights: [N, E] the experts' weights.
        expert_probability: [N, E] each expert's probability of the positive coarse label.
        labels: [N] fine classes of the reference images, 0 to classes - 1.
        classes: C, the number of fine classes.
        coarse: K, the number of coarse labels; 1 where there are none, and then every probability is 0.

    Returns:
        float64 [E, K, C], rows summing to 1.
    """
    mass = cell_probability(weights, expert_probability)[:, :, :coarse].astype(np.float64)
    counts: NDArray[np.float64] = np.einsum("nek,nc->ekc", mass, np.eye(classes)[labels]) + PRIOR_IMAGES
    counts /= counts.sum(axis=2, keepdims=True)
    return counts


def class_probability(weights: Floats, expert_probability: Floats, class_map: Floats) -> Floats:
    """Return ``sum over cells of P(cell) * map[cell, class]``, [N, C].

    Args:
        weights: [N, E] the experts' weights.
        expert_probability: [N, E] each expert's probability of the positive coarse label.
        class_map: [E, K, C], rows summing to 1; K is 1 where there are no coarse labels, and every probability 0.
    """
    cells = cell_probability(weights, expert_probability)[:, :, : class_map.shape[1]]
    probability: Floats = np.einsum("nek,ekc->nc", cells, class_map)
    return probability


def class_mapping(class_map: Floats, classes: Sequence[str]) -> dict[str, str | None]:
    """Return the most probable class of each cluster by its number, None where hardly any reference image is in it.

    Args:
        class_map: [E, C], of one coarse group, rows summing to 1.
        classes: the names of the C classes.
    """
    best, uniform = class_map.argmax(axis=1).tolist(), 1 / len(classes)
    told = (class_map.max(axis=1) - uniform >= LEAST_LEAD).tolist()
    return {str(e): classes[c] if known else None for e, (c, known) in enumerate(zip(best, told, strict=True))}


def draw_reference(labels: NDArray[np.integer], per_class: int, seed: int) -> NDArray[np.int64]:
    """Draw ``per_class`` images of each class, without replacement: sorted indices, int64.

    Args:
        labels: [N] fine classes of the training split.
        per_class: images of each class, at least 1.
        seed: seed of the draw.

    Raises:
        ValueError: a class has fewer images than asked for.
    """
    generator = np.random.default_rng(seed)
    drawn = [generator.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in np.unique(labels)]
    return np.sort(np.concatenate(drawn))
