"""Which images are trained on in an epoch: equally many of each cluster, so that large ones do not dominate.

Caron et al., arXiv:1807.05520, section 3.3: otherwise a network may learn a few large clusters and nothing else.
"""

import torch
from torch import Tensor

from training.data.sampling import balanced


def balanced_epoch(assigned: Tensor, generator: torch.Generator) -> Tensor:
    """Return the N images of an epoch, int64 [N], drawn so that each cluster in use has the same share.

    A cluster's images are taken in a random order, and again from the start if there are too few. What is left over of
    N goes to clusters at random.

    Args:
        assigned: cluster of each of the N images, int64 [N], on the CPU.
        generator: draws the order.

    Returns:
        Places in ``assigned``, shuffled.
    """
    clusters = torch.bincount(assigned).nonzero().squeeze(1).tolist()
    return balanced([(assigned == cluster).nonzero().squeeze(1) for cluster in clusters], len(assigned), generator)
