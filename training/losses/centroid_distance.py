"""The k-means loss: how far embeddings lie from the centroids of their clusters.

Yang, Fu, Sidiropoulos, Hong, "Towards K-means-friendly Spaces: Simultaneous Deep Learning and Clustering" (DCN),
ICML 2017, arXiv:1610.04794.
"""

from torch import Tensor


def centroid_distance(embeddings: Tensor, centroids: Tensor, assigned: Tensor) -> Tensor:
    """Return half the squared distance between each embedding and its centroid, averaged over the batch, a scalar.

    Args:
        embeddings: float32 [N, D].
        centroids: float32 [K, D].
        assigned: int64 [N], the cluster of each embedding.
    """
    return (embeddings - centroids[assigned]).square().sum(dim=1).mean() / 2
