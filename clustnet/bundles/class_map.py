"""The class map: which class each cell (one expert and one coarse label) stands for, and the guess made with it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.routing import Floats, cell_probability

# The weight of the prior from overlapping cells, in reference images per cell. It was chosen by the log-likelihood of
# held-out reference images, see docs/methods/clustnet.md.
PRIOR_IMAGES = 3.0
# The share of a cell's spread counts that comes from overlapping cells, chosen in the same way.
NEIGHBOUR_SHARE = 0.9
# A cell that hardly any reference image or neighbour reaches stays near uniform instead of claiming a class.
UNIFORM_IMAGES = 0.02
# A cluster is named after a class only if the class's share exceeds 1 / C by at least this much.
MIN_LEAD = 0.05


def cell_overlap(weights: Floats, expert_probability: Floats) -> NDArray[np.float64]:
    """Return how much the cells of each coarse label overlap, which needs no classes.

    Two cells of one class share the images that lie in both with some probability; with hard routing there are none.

    Args:
        weights: [N, E] the experts' weights of many images, such as the training split.
        expert_probability: [N, E, K] each expert's distribution over the coarse labels.

    Returns:
        float64 [K, E, E], rows summing to 1: the share of a cell's images that each cell of its coarse label holds. A
        cell without images overlaps only with itself.
    """
    mass = cell_probability(weights, expert_probability).astype(np.float64)
    shared: NDArray[np.float64] = np.einsum("nek,nfk->kef", mass, mass, optimize=True)
    shared += np.finfo(np.float64).tiny * np.eye(mass.shape[1])
    shared /= shared.sum(axis=2, keepdims=True)
    return shared


def fit_class_map(
    weights: Floats,
    expert_probability: Floats,
    labels: NDArray[np.integer],
    classes: int,
    overlap: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the class map fitted on labelled reference images: the expected share of each class in each cell.

    Each image is counted in each cell, weighted by the probability of the cell. The Dirichlet prior of a cell is worth
    ``PRIOR_IMAGES`` images and comes from counts that spread over overlapping cells (Zhou et al., "Learning with Local
    and Global Consistency", 2004), so a cell without reference images takes the class of its neighbours.

    Args:
        weights: [N, E] the experts' weights.
        expert_probability: [N, E, K] each expert's distribution over the coarse labels.
        labels: [N] classes of the reference images, 0 to C - 1.
        classes: C, the number of classes.
        overlap: [K, E, E] overlap of the cells, see ``cell_overlap``.

    Returns:
        float64 [E, K, C], rows summing to 1.
    """
    mass = cell_probability(weights, expert_probability).astype(np.float64)
    counts = np.einsum("nek,nc->kec", mass, np.eye(classes)[labels])
    stay = np.eye(len(counts[0])) - NEIGHBOUR_SHARE * overlap
    spread = (1 - NEIGHBOUR_SHARE) * np.linalg.solve(stay, counts) + UNIFORM_IMAGES / classes
    counts += PRIOR_IMAGES * spread / spread.sum(axis=2, keepdims=True)
    fitted: NDArray[np.float64] = np.swapaxes(counts / counts.sum(axis=2, keepdims=True), 0, 1)
    return fitted


def identity_class_map(used: NDArray[np.bool_]) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    """Return the class map in which each cell in use is a subtype of its own.

    A cell that is not in use stands for all subtypes of its coarse label equally.

    Args:
        used: bool [E, K] whether each cell is in use; each coarse label has at least one such cell.

    Returns:
        The map, float64 [E, K, C], rows summing to 1; and the cell (expert, coarse label) of each of the C subtypes,
        sorted by coarse label and then by expert.
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

    So a guess never contradicts its coarse label, as the most probable class overall might.

    Args:
        coarse_probability: [N, K] probability of each coarse label.
        class_probability: [N, C] probability of each class.
        membership: bool [K, C] whether each class belongs to each coarse label.
    """
    allowed = membership[coarse_probability.argmax(axis=1)]
    guess: NDArray[np.int64] = np.where(allowed, class_probability, -1.0).argmax(axis=1)
    return guess


def class_mapping(class_map: Floats, classes: Sequence[str]) -> dict[str, str | None]:
    """Return the most probable class of each cluster, keyed by its number; None if it holds hardly any reference image.

    Args:
        class_map: [E, C] the part of the class map for one coarse label, rows summing to 1.
        classes: the names of the C classes.
    """
    best, uniform = class_map.argmax(axis=1).tolist(), 1 / len(classes)
    clear = (class_map.max(axis=1) - uniform >= MIN_LEAD).tolist()
    return {str(e): classes[c] if known else None for e, (c, known) in enumerate(zip(best, clear, strict=True))}


def draw_reference(labels: NDArray[np.integer], per_class: int, seed: int) -> NDArray[np.int64]:
    """Return the sorted indices of ``per_class`` images of each class, drawn without replacement, int64.

    Args:
        labels: [N] classes of the training split, at least one of them known; ``UNKNOWN`` images are never drawn.
        per_class: number of images of each class, at least 1.
        seed: seed of the draw.

    Raises:
        ValueError: a class has fewer images than that.
    """
    generator = np.random.default_rng(seed)
    known = np.unique(labels[labels >= 0])
    drawn = [generator.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in known]
    return np.sort(np.concatenate(drawn))
