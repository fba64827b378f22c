"""The entropy of routing distributions."""

import numpy as np
from numpy.typing import NDArray


def routing_entropy(routing: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each image's routing entropy in nats, 0 to ln E, float64 [N].

    Args:
        routing: [N, E] routing distribution.
    """
    probability = np.clip(routing.astype(np.float64), 1e-12, 1.0)
    entropy: NDArray[np.float64] = -(probability * np.log(probability)).sum(axis=1)
    return entropy
