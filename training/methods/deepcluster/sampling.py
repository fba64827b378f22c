"""Which images are trained on in an epoch: as many of each cluster, so that large ones do not decide alone.

Caron et al., arXiv:1807.05520, section 3.3: without it, a network may learn a few large clusters and nothing else.
"""

import torch
from torch import Tensor

from training.data.sampling import balanced


def balanced_epoch(assigned: Tensor, generator: torch.Generator) -> Tensor:
    """Return as many images as there are, int64 [N], drawn so that each cluster in use has the same share.

    A cluster's images are taken in a random order, and again from the start where it has too few. What N leaves over
    goes to clusters at random.

    Args:
        assigned: int64 [N], the cluster of image 0, 1, ... N - 1, on the CPU.
        generator: draws the order.

    Returns:
        Places in ``assigned``, shuffled.
    """
    clusters = torch.bincount(assigned).nonzero().squeeze(1).tolist()
    return balanced([(assigned == cluster).nonzero().squeeze(1) for cluster in clusters], len(assigned), generator)
