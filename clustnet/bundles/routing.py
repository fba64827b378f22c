"""Routing distributions: their entropy, the weights of the experts, and the probabilities of the cells."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def routing_entropy(routing: Floats) -> NDArray[np.float64]:
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
        hard: True for one expert per image (the most probable), False for the distribution itself.
    """
    if not hard:
        return routing
    chosen: Floats = np.eye(routing.shape[1], dtype=routing.dtype)[routing.argmax(axis=1)]
    return chosen


def cell_probability(weights: Floats, expert_probability: Floats) -> Floats:
    """Return the probability of each cell, [N, E, K], which sums to 1 for each image.

    Args:
        weights: [N, E] the experts' weights, rows summing to 1.
        expert_probability: [N, E, K] each expert's distribution over the coarse labels.
    """
    probability: Floats = weights[:, :, None] * expert_probability
    return probability


def coarse_probability(weights: Floats, expert_probability: Floats) -> Floats:
    """Return the mixture's distribution over the coarse labels, [N, K].

    Args:
        weights: [N, E] the experts' weights, rows summing to 1.
        expert_probability: [N, E, K] each expert's distribution over the coarse labels.
    """
    probability: Floats = cell_probability(weights, expert_probability).sum(axis=1)
    return probability
