"""Calibrated class probabilities: one temperature, fitted on coarse labels.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

# Keeps logarithms finite.
MIN_PROBABILITY = 1e-12
TEMPERATURES = (0.1, 10.0)


def tempered(probability: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return class probabilities at a temperature, ``softmax(ln P / temperature)``, float64 [N, C].

    The order of the classes does not change. A temperature below 1 sharpens the probabilities, one above 1 flattens
    them.

    Args:
        probability: [N, C] probability of each class; anything below ``MIN_PROBABILITY`` counts as that.
        temperature: above 0.
    """
    logits = np.log(np.clip(probability.astype(np.float64), MIN_PROBABILITY, None)) / temperature
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    calibrated: NDArray[np.float64] = power / power.sum(axis=1, keepdims=True)
    return calibrated


def fit_temperature(
    probability: NDArray[np.floating], membership: NDArray[np.bool_], coarse: NDArray[np.integer]
) -> float:
    """Return the temperature that makes the images' coarse labels most likely; no fine label is used.

    The probability of a coarse label is the sum over its classes. So the confusions between coarse labels, which the
    labels reveal, determine the probability of confusions within them, which the labels do not reveal. For a model that
    confuses classes within a coarse label far more often than coarse labels, the probabilities remain too high.

    Args:
        probability: [N, C] probability of each class, before calibration.
        membership: bool [K, C] whether each class belongs to each coarse label.
        coarse: [N] coarse labels, 0 to K - 1.

    Returns:
        A temperature within ``TEMPERATURES``; 1 for a single coarse label, from which nothing can be learnt.
    """
    if len(membership) == 1:
        return 1.0
    behind = membership[coarse]

    def negative_log_likelihood(log_temperature: float) -> float:
        true = (tempered(probability, math.exp(log_temperature)) * behind).sum(axis=1)
        return float(-np.log(np.clip(true, MIN_PROBABILITY, None)).mean())

    low, high = map(math.log, TEMPERATURES)
    return math.exp(minimize_scalar(negative_log_likelihood, bounds=(low, high), method="bounded").x)
