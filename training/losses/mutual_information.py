"""Mutual information between the experts of two views of the same image.

Ji, Henriques, Vedaldi, "Invariant Information Clustering for Unsupervised Image Classification and
Segmentation", ICCV 2019, arXiv:1807.06653, here within each coarse group.
"""

import torch
from torch import Tensor

SMALLEST = 1e-8  # keeps the logarithm of an empty cell of the joint distribution finite


def joint_routing(first: Tensor, second: Tensor) -> Tensor:
    """Return the symmetrised joint distribution of two routings [N, E] of the same images, float32 [E, E].

    It sums to 1, for no images to 0.
    """
    joint = first.T @ second / max(len(first), 1)
    return (joint + joint.T) / 2


def mutual_information(first: Tensor, second: Tensor) -> Tensor:
    """Return the mutual information of the symmetrised joint distribution of two routings.

    Args:
        first: float32 [N, E], routing distribution of one view of each image.
        second: float32 [N, E], of another view of the same images.

    Returns:
        float32 scalar in nats, 0 to ln E.
    """
    joint = joint_routing(first, second).clamp_min(SMALLEST)
    independent = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
    return (joint * (joint.log() - independent.log())).sum()


def group_mutual_information(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """Return the sum over the two coarse groups of the mutual information within each.

    Args:
        first: float32 [N, E], routing distribution of one view of each image.
        second: float32 [N, E], of another view of the same images.
        target: float32 [N], coarse labels 0 or 1.

    Returns:
        float32 scalar in nats, 0 to 2 ln E; a group without images counts 0.
    """
    groups = [target == label for label in (0, 1)]
    parts = [mutual_information(first[group], second[group]) for group in groups if group.any()]
    return torch.stack(parts).sum()
