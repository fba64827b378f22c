"""Routing distributions: their weights, the cells that they make with the experts, and their entropy."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def routing_entropy(routing: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each image's routing entropy in nats, 0 to ln E, float64 [N].

    Args:
        routing: [N, E] routing distribution.
    """
    probability = np.clip(routing.astype(np.float64), 1e-12, 1.0)
    entropy: NDArray[np.float64] = -(probability * np.log(probability)).sum(axis=1)
    return entropy


def routing_weights(routing: Floats, hard: bool) -> Floats:
    """Return the weights that combine the experts, [N, E].

    Args:
        routing: [N, E] routing distribution.
        hard: True for one expert an image (the most probable), False for the distribution itself.
    """
    if not hard:
        return routing
    chosen: Floats = np.eye(routing.shape[1], dtype=routing.dtype)[routing.argmax(axis=1)]
    return chosen


def cell_probability(weights: Floats, expert_probability: Floats) -> Floats:
    """Return the probability of each cell, [N, E, 2], summing to one over the cells of an image.

    Args:
        weights: [N, E] the experts' weights, rows summing to 1.
        expert_probability: [N, E] each expert's probability of the positive coarse label.
    """
    positive = weights * expert_probability
    return np.stack([weights - positive, positive], axis=2)
