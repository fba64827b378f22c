"""Clusters of a convolutional network's features, as a gate over trivial experts.

The gate is the posterior over the clusters, given by a linear classifier that learnt them as labels (DeepCluster) or by
the similarity to their centroids (DeepCluster-v2).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from training.models.batch_norm import BatchNorm1d
from training.models.config import ConvNetModel
from training.models.convnets import ConvNet
from training.models.encoder import Normalise
from training.models.mixture import ClusterExperts, MixtureOutput


class Classifier(nn.Module):
    """Features float32 [N, D] -> logits of the clusters, float32 [N, E]: a ReLU and a linear layer."""

    def __init__(self, features: int, clusters: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, clusters)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.linear(features.relu())
        return logits


class Centroids(nn.Module):
    """Features float32 [N, D] -> cosine similarity to the centroids, divided by a temperature, float32 [N, E].

    Features are projected by two layers first, as in SwAV (Caron et al., arXiv:2006.09882, appendix D).

    Args:
        features: D, number of features.
        clusters: E, number of clusters.
        projection: P, length of the projected features.
        temperature: above 0; a lower one makes the posterior surer.
    """

    centroids: Tensor

    def __init__(self, features: int, clusters: int, projection: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        hidden = [nn.Linear(features, features, bias=False), BatchNorm1d(features), nn.ReLU()]
        self.projection = nn.Sequential(nn.ReLU(), *hidden, nn.Linear(features, projection))
        self.register_buffer("centroids", torch.zeros(clusters, projection))

    def project(self, features: Tensor) -> Tensor:
        """Return projected features of length 1, float32 [N, P]."""
        projected: Tensor = normalize(self.projection(features).float(), dim=1)
        return projected

    def logits(self, projected: Tensor) -> Tensor:
        """Return the similarity of projected features divided by the temperature, float32 [N, E]."""
        return linear(projected, self.centroids) / self.temperature

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        return self.logits(self.project(features))


class ConvNetClusters(ClusterExperts):
    """A convolutional network and the posterior over E clusters of its features, which is the routing distribution.

    Args:
        model: the recipe's model part.
        clusters: number of clusters of each of the K coarse labels, in order.
        channels: channels of the images, 1 or 3.
        mean: mean of each channel, for pixels scaled to 0..1.
        std: standard deviation of each channel, likewise.
    """

    encoder: ConvNet

    def __init__(
        self, model: ConvNetModel, clusters: Sequence[int], channels: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(clusters)
        self.normalise = Normalise(mean, std)
        self.encoder = ConvNet(model, channels)
        sizes = self.encoder.features, sum(clusters)
        self.head: Classifier | Centroids = (
            Centroids(*sizes, model.projection, model.temperature) if model.version == 2 else Classifier(*sizes)
        )
        self.to(memory_format=torch.channels_last)

    def route_embedded(self, pixels: Tensor, embeddings: Tensor) -> MixtureOutput:  # noqa: ARG002 - as the base does
        """Do as ``route`` with the features of the images, float32 [N, D]."""
        log_routing = self.head(embeddings).float().log_softmax(dim=1)
        return self.output(log_routing)

    def gate(self, images: Tensor) -> Tensor:
        """Return the posterior over the clusters, float32 [N, E]."""
        logits: Tensor = self.head(self.encoder(self.normalise(images)))
        return logits.softmax(dim=1)
