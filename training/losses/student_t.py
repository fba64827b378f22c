"""Kullback-Leibler divergence between soft assignments to clusters and their sharpened target.

Xie, Girshick, Farhadi, "Unsupervised Deep Embedding for Clustering Analysis" (DEC), ICML 2016, arXiv:1511.06335.
"""

import torch
from torch import Tensor


def soft_assignment(embeddings: Tensor, centroids: Tensor) -> Tensor:
    """Return ``q_ik``: Student's t of the distance to each centroid, one degree of freedom, with rows summing to 1.

    Args:
        embeddings: float32 [N, D].
        centroids: float32 [K, D].

    Returns:
        float32 [N, K], each above 0.
    """
    distances = (embeddings[:, None] - centroids).square().sum(dim=2)
    similarity = 1 / (1 + distances)
    return similarity / similarity.sum(dim=1, keepdim=True)


def target_distribution(assignment: Tensor) -> Tensor:
    """Return ``p_ik = (q_ik^2 / f_k) / sum_j (q_ij^2 / f_j)`` with the soft size ``f_k = sum_i q_ik`` of each cluster.

    Args:
        assignment: float32 [N, K], the soft assignment q of all images.

    Returns:
        float32 [N, K], rows summing to 1.
    """
    sharpened = assignment.square() / assignment.sum(dim=0)
    return sharpened / sharpened.sum(dim=1, keepdim=True)


def clustering_divergence(assignment: Tensor, target: Tensor) -> Tensor:
    """Return ``KL(p || q)``, averaged over the batch, a scalar in nats, 0 or more.

    Args:
        assignment: float32 [N, K], the soft assignment q.
        target: float32 [N, K], the target distribution p.
    """
    return (torch.xlogy(target, target) - target * assignment.log()).sum(dim=1).mean()
