"""Calibrated class probabilities: one temperature, fitted on coarse labels.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from clustnet.bundles.groups import CoarseGrouping

LEAST_PROBABILITY = 1e-12  # keeps logarithms finite
TEMPERATURES = (0.1, 10.0)


def tempered(probability: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return class probabilities at a temperature, ``softmax(ln P / temperature)``, float64 [N, C].

    The order of the classes stays; a temperature under 1 makes them surer, above 1 less sure.

    Args:
        probability: [N, C] probability of each class; what is under ``LEAST_PROBABILITY`` counts as that.
        temperature: above 0.
    """
    logits = np.log(np.clip(probability.astype(np.float64), LEAST_PROBABILITY, None)) / temperature
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    calibrated: NDArray[np.float64] = power / power.sum(axis=1, keepdims=True)
    return calibrated


def fit_temperature(probability: NDArray[np.floating], grouping: CoarseGrouping, coarse: NDArray[np.integer]) -> float:
    """Fit the temperature that makes images' coarse labels most likely; no fine label is used.

    A coarse label has the probability of all classes behind it. So the mistakes across the two groups, which the
    labels show, set the probability of the mistakes within them, which they do not: where a model confuses the
    classes of a group far more than it confuses the groups, the probabilities will be too sure.

    Args:
        probability: [N, C] probability of each fine class, not tempered.
        grouping: the fine classes behind each coarse label.
        coarse: [N] coarse labels, 0 or 1.

    Returns:
        Within ``TEMPERATURES``.
    """
    behind = np.zeros(probability.shape, bool)
    for label, group in enumerate(grouping.groups):
        behind[np.ix_(coarse == label, group)] = True

    def negative_log_likelihood(log_temperature: float) -> float:
        true = (tempered(probability, math.exp(log_temperature)) * behind).sum(axis=1)
        return float(-np.log(np.clip(true, LEAST_PROBABILITY, None)).mean())

    low, high = map(math.log, TEMPERATURES)
    return math.exp(minimize_scalar(negative_log_likelihood, bounds=(low, high), method="bounded").x)
