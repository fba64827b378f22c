"""The class map: which class each cell (one expert and one coarse label) stands for, and the guess made with it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.routing import Floats, cell_probability

# A cell that few reference images reach stays near uniform instead of claiming a class.
PRIOR_IMAGES = 0.1
# A cluster is named after a class only if that class leads the mean by this much.
MIN_LEAD = 0.05


def fit_class_map(
    weights: Floats, expert_probability: Floats, labels: NDArray[np.integer], classes: int
) -> NDArray[np.float64]:
    """Return the class map fitted on labelled reference images: the expected class counts of each cell.

    Each image counts in each cell by the cell's probability. A symmetric Dirichlet prior worth ``PRIOR_IMAGES`` per
    entry keeps cells without images uniform, over the classes of every coarse label: so the temperature, which the
    coarse labels fit, also removes what the prior adds within a coarse label.

    Args:
        weights: [N, E] the experts' weights.
        expert_probability: [N, E, K] each expert's distribution over the coarse labels.
        labels: [N] classes of the reference images, 0 to C - 1.
        classes: C, how many there are.

    Returns:
        float64 [E, K, C], rows summing to 1.
    """
    mass = cell_probability(weights, expert_probability).astype(np.float64)
    counts: NDArray[np.float64] = np.einsum("nek,nc->ekc", mass, np.eye(classes)[labels]) + PRIOR_IMAGES
    counts /= counts.sum(axis=2, keepdims=True)
    return counts


def identity_class_map(used: NDArray[np.bool_]) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    """Return the class map in which each cell in use is a subtype of its own.

    A cell out of use stands for all subtypes of its coarse label alike.

    Args:
        used: bool [E, K] whether each cell is in use; each coarse label has at least one such cell.

    Returns:
        The map, float64 [E, K, C], rows summing to 1; and the cell (expert, coarse label) of each of the C subtypes,
        by coarse label and then by expert.
    """
    subtypes = [(expert, coarse) for coarse, expert in np.argwhere(used.T).tolist()]
    labels = np.array([coarse for _, coarse in subtypes])
    class_map = np.zeros((*used.shape, len(subtypes)))
    for coarse in range(used.shape[1]):
        class_map[:, coarse] = (labels == coarse) / (labels == coarse).sum()
    for subtype, (expert, coarse) in enumerate(subtypes):
        class_map[expert, coarse] = np.eye(len(subtypes))[subtype]
    return class_map, subtypes


def class_probability(weights: Floats, expert_probability: Floats, class_map: Floats) -> Floats:
    """Return ``sum over cells of P(cell) * map[cell, class]``, [N, C].

    Args:
        weights: [N, E] the experts' weights.
        expert_probability: [N, E, K] each expert's distribution over the coarse labels.
        class_map: [E, K, C], rows summing to 1.
    """
    probability: Floats = np.einsum("nek,ekc->nc", cell_probability(weights, expert_probability), class_map)
    return probability


def guesses(coarse_probability: Floats, class_probability: Floats, membership: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the guess for each image, int64 [N]: the most probable class of the most probable coarse label.

    So a guess never contradicts its coarse label, which the most probable class of all might.

    Args:
        coarse_probability: [N, K].
        class_probability: [N, C].
        membership: bool [K, C] whether each class belongs to each coarse label.
    """
    allowed = membership[coarse_probability.argmax(axis=1)]
    guess: NDArray[np.int64] = np.where(allowed, class_probability, -1.0).argmax(axis=1)
    return guess


def class_mapping(class_map: Floats, classes: Sequence[str]) -> dict[str, str | None]:
    """Return the most probable class of each cluster by its number, None where hardly any reference image is in it.

    Args:
        class_map: [E, C], of one coarse label, rows summing to 1.
        classes: the names of the C classes.
    """
    best, uniform = class_map.argmax(axis=1).tolist(), 1 / len(classes)
    clear = (class_map.max(axis=1) - uniform >= MIN_LEAD).tolist()
    return {str(e): classes[c] if known else None for e, (c, known) in enumerate(zip(best, clear, strict=True))}


def draw_reference(labels: NDArray[np.integer], per_class: int, seed: int) -> NDArray[np.int64]:
    """Return the sorted indices of ``per_class`` images of each class, drawn without replacement, int64.

    Args:
        labels: [N] classes of the training split, at least one of them known; ``UNKNOWN`` ones are never drawn.
        per_class: images of each class, at least 1.
        seed: seed of the draw.

    Raises:
        ValueError: a class has fewer images than that.
    """
    generator = np.random.default_rng(seed)
    known = np.unique(labels[labels >= 0])
    drawn = [generator.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in known]
    return np.sort(np.concatenate(drawn))
