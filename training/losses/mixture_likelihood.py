"""Negative log-likelihood of coarse labels under a mixture of experts.

Jacobs, Jordan, Nowlan, Hinton, "Adaptive Mixtures of Local Experts", Neural Computation 3, 1991.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def soft_mixture_nll(log_routing: Tensor, expert_logit: Tensor, target: Tensor) -> Tensor:
    """Return ``-log sum_e g_e p_e(target)``, mean over the batch, computed in logarithms.

    Args:
        log_routing: float32 [N, E], logarithm of the routing distribution g.
        expert_logit: float32 [N, E], each expert's logit of the positive label.
        target: float32 [N], coarse labels 0 or 1.

    Returns:
        float32 scalar, nats.
    """
    return -torch.logsumexp(log_routing + _log_probability(expert_logit, target), dim=1).mean()


def hard_mixture_nll(weights: Tensor, expert_logit: Tensor, target: Tensor) -> Tensor:
    """Return ``-sum_e w_e log p_e(target)``, mean over the batch, for one chosen expert an image.

    For a one-hot ``w`` this is the negative log-likelihood of the chosen expert; its gradient with
    respect to ``w`` stays bounded where ``log sum_e w_e p_e`` would divide by a vanishing probability.

    Args:
        weights: float32 [N, E], one-hot in value, such as ``straight_through`` gives.
        expert_logit: float32 [N, E], each expert's logit of the positive label.
        target: float32 [N], coarse labels 0 or 1.

    Returns:
        float32 scalar, nats.
    """
    return -(weights * _log_probability(expert_logit, target)).sum(dim=1).mean()


def _log_probability(expert_logit: Tensor, target: Tensor) -> Tensor:
    """Return each expert's log-probability of the target, float32 [N, E]."""
    return logsigmoid(expert_logit * (2 * target - 1).unsqueeze(1))
