"""Negative log-likelihood of coarse labels under a mixture of experts.

Jacobs, Jordan, Nowlan, Hinton, "Adaptive Mixtures of Local Experts", Neural Computation 3, 1991.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def soft_mixture_nll(log_routing: Tensor, expert_logit: Tensor, coarse: Tensor) -> Tensor:
    """Return ``-log sum_e g_e p_e(coarse)``, averaged over the batch and computed in log space.

    Args:
        log_routing: float32 [N, E], logarithm of the routing distribution g.
        expert_logit: float32 [N, E, L], see ``target_log_probability``.
        coarse: int64 [N], coarse labels 0 to K - 1.

    Returns:
        float32 scalar, nats.
    """
    return -torch.logsumexp(log_routing + target_log_probability(expert_logit, coarse), dim=1).mean()


def hard_mixture_nll(weights: Tensor, expert_logit: Tensor, coarse: Tensor) -> Tensor:
    """Return ``-sum_e w_e log p_e(coarse)``, averaged over the batch, where one expert is chosen per image.

    For a one-hot ``w`` this is the negative log-likelihood of the chosen expert; its gradient with
    respect to ``w`` stays bounded where ``log sum_e w_e p_e`` would divide by a vanishing probability.

    Args:
        weights: float32 [N, E], one-hot in value, as ``straight_through`` returns them.
        expert_logit: float32 [N, E, L], see ``target_log_probability``.
        coarse: int64 [N], coarse labels 0 to K - 1.

    Returns:
        float32 scalar, nats.
    """
    return -(weights * target_log_probability(expert_logit, coarse)).sum(dim=1).mean()


def target_log_probability(expert_logit: Tensor, coarse: Tensor) -> Tensor:
    """Return each expert's log-probability of the true coarse label, float32 [N, E].

    Args:
        expert_logit: float32 [N, E, L], the L free logits of each expert: none for K = 1, that of the second coarse
            label for K = 2, and one for each coarse label for K of 3 or more.
        coarse: int64 [N], coarse labels 0 to K - 1.
    """
    free = expert_logit.shape[2]
    if free == 0:
        return expert_logit.new_zeros(expert_logit.shape[:2])
    if free == 1:
        return logsigmoid(expert_logit.squeeze(2) * (2 * coarse.to(expert_logit.dtype) - 1).unsqueeze(1))
    places = coarse.view(-1, 1, 1).expand(-1, expert_logit.shape[1], 1)
    return expert_logit.log_softmax(dim=2).gather(2, places).squeeze(2)
