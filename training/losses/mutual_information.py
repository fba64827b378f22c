"""Mutual information between the experts of two views of the same image.

Ji, Henriques, Vedaldi, "Invariant Information Clustering for Unsupervised Image Classification and
Segmentation", ICCV 2019, arXiv:1807.06653, here within each coarse group.
"""

import torch
from torch import Tensor

# Keeps the logarithm of an empty entry of the joint distribution finite.
SMALLEST_PROBABILITY = 1e-8


def joint_routing(first: Tensor, second: Tensor) -> Tensor:
    """Return the symmetrised joint distribution of two routings [N, E] of the same images, float32 [E, E].

    It sums to 1, or to 0 if there are no images.
    """
    joint = first.T @ second / max(len(first), 1)
    return (joint + joint.T) / 2


def mutual_information(first: Tensor, second: Tensor, shares: Tensor | None = None) -> Tensor:
    """Return the mutual information of the symmetrised joint distribution of two routings.

    It is the entropy of the experts' shares minus the entropy of one view's expert given the other view's, and so
    favours even shares. If expected shares are given, the negative divergence from them, ``-KL(found || expected)``,
    replaces the entropy of the shares, which favours the expected shares.

    Args:
        first: float32 [N, E], routing distribution of one view of each image.
        second: float32 [N, E], routing distribution of another view of the same images.
        shares: float32 [E], the expected shares of the experts, none of them 0; None for the mutual information itself.

    Returns:
        float32 scalar in nats, 0 to ln E; at most 0 with expected shares.
    """
    joint = joint_routing(first, second).clamp_min(SMALLEST_PROBABILITY)
    independent = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
    information = (joint * (joint.log() - independent.log())).sum()
    return information if shares is None else information + (joint.sum(dim=1) * shares.log()).sum()


def group_mutual_information(first: Tensor, second: Tensor, coarse: Tensor, shares: Tensor | None = None) -> Tensor:
    """Return the sum over the K coarse groups of the mutual information within each.

    Args:
        first: float32 [N, E], routing distribution of one view of each image.
        second: float32 [N, E], routing distribution of another view of the same images.
        coarse: int64 [N], coarse labels 0 to K - 1.
        shares: float32 [K, E], the expected shares of the experts in each group, see ``mutual_information``.

    Returns:
        float32 scalar in nats, 0 to K ln E; a group without images counts as 0.
    """
    groups = {label: coarse == label for label in range(int(coarse.max()) + 1)}
    found = [
        mutual_information(first[group], second[group], None if shares is None else shares[label])
        for label, group in groups.items()
        if group.any()
    ]
    return torch.stack(found).sum()
