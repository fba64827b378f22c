"""The original ClustNet's optional terms on the routing distribution.

Their difference, diversity minus entropy, is the mutual information between image and expert
(Bridle, Heading, MacKay, "Unsupervised Classifiers, Mutual Information and Phantom Targets", 1991).
"""

from torch import Tensor


def routing_entropy(log_routing: Tensor) -> Tensor:
    """Return the mean entropy of each image's routing, a scalar in nats, 0 to ln E.

    Args:
        log_routing: float32 [N, E], logarithm of the routing distribution.
    """
    return -(log_routing.exp() * log_routing).sum(dim=1).mean()


def routing_diversity(log_routing: Tensor) -> Tensor:
    """Return the entropy of the batch's mean routing, a scalar in nats, 0 (collapse) to ln E (even use).

    Args:
        log_routing: float32 [N, E], logarithm of the routing distribution.
    """
    mean = log_routing.exp().mean(dim=0)
    return -(mean * mean.clamp_min(1e-12).log()).sum()
