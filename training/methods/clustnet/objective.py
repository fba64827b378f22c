"""The loss that methods of a gate over learning experts share, whatever gate and experts read."""

import torch
from torch import Tensor

from training.losses.mixture_likelihood import hard_mixture_nll, soft_mixture_nll
from training.losses.routing_terms import routing_diversity, routing_entropy
from training.methods.clustnet.config import LossWeights
from training.methods.method import DivergedError
from training.models.mixture import MixtureOutput, straight_through


def check_finite(output: MixtureOutput) -> MixtureOutput:
    """Return the output of a mixture.

    Raises:
        DivergedError: it overflows, because the weights have diverged.
    """
    if not (output.log_routing.sum() + output.expert_logit.sum()).isfinite():
        raise DivergedError("The training diverged: the model's outputs overflow; lower optimisation.learning_rate.")
    return output


def coarse_loss(
    output: MixtureOutput,
    coarse: Tensor,
    weights: LossWeights,
    hard: bool,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the negative log-likelihood of the coarse labels with the terms on the routing, a scalar in nats.

    Args:
        output: output for N images.
        coarse: int64 [N], their coarse labels.
        weights: weights of the terms; that of the mutual information is not read, because it takes two views.
        hard: whether one expert alone decides about an image.
        generator: draws the expert that decides, on the CPU; torch's own by default.
    """
    log_routing = output.log_routing
    if hard:
        loss = hard_mixture_nll(straight_through(log_routing, generator), output.expert_logit, coarse)
    else:
        loss = soft_mixture_nll(log_routing, output.expert_logit, coarse)
    if weights.routing_entropy:
        loss = loss + weights.routing_entropy * routing_entropy(output.log_routing)
    if weights.routing_diversity:
        loss = loss - weights.routing_diversity * routing_diversity(output.log_routing)
    return loss
