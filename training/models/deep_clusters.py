"""Clusters in an autoencoder's embedding, as a gate over trivial experts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.losses.student_t import soft_assignment
from training.models.architecture import Architecture
from training.models.autoencoder import Encoder
from training.models.encoder import Normalise
from training.models.mixture import ClusterExperts, MixtureOutput


class DeepClusters(ClusterExperts):
    """An encoder and the centroids of E clusters; the soft assignment to them is the routing distribution.

    Args:
        architecture: architecture of the encoder.
        clusters: number of clusters of each of the K coarse labels, in order.
        mean: mean of each channel, for pixels scaled to 0..1.
        std: standard deviation of each channel, likewise.
    """

    normalise: Normalise
    encoder: Encoder

    def __init__(
        self, architecture: Architecture, clusters: Sequence[int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(clusters)
        self.normalise = Normalise(mean, std)
        self.encoder = Encoder(architecture)
        self.centroids = nn.Parameter(torch.zeros(sum(clusters), architecture.embedding))
        self.to(memory_format=torch.channels_last)

    def resize(self, clusters: int) -> None:
        """Change the number of clusters, all of one coarse label; their centroids are still to be set."""
        self.label_count = 1
        self.centroids = nn.Parameter(self.centroids.new_zeros(clusters, self.centroids.shape[1]))
        self.cluster_labels = self.cluster_labels.new_zeros(clusters)

    def embed(self, images: Tensor) -> Tensor:
        """Return the embeddings, float32 [N, D], of images [N, H, W] or [N, H, W, C] from 0 to 255."""
        embeddings: Tensor = self.encoder(self.normalise(images))
        return embeddings

    def route_embedded(self, pixels: Tensor, embeddings: Tensor) -> MixtureOutput:  # noqa: ARG002 - as the base does
        """Do as ``route`` with the encoder's embeddings of the images, float32 [N, D]."""
        routing = soft_assignment(embeddings, self.centroids)
        return self.output(routing.log())

    def gate(self, images: Tensor) -> Tensor:
        """Return the soft assignment of images to the clusters, float32 [N, E]."""
        return soft_assignment(self.embed(images), self.centroids)
