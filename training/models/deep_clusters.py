"""Clusters in an autoencoder's embedding, as a gate over experts that are trivial."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.losses.student_t import soft_assignment
from training.models.architecture import Architecture
from training.models.autoencoder import Encoder
from training.models.encoder import Normalise
from training.models.mixture import GatedExperts, MixtureOutput

SURE = 30.0  # logit of an expert's only answer; its probability is 0 or 1 within 1e-13


class DeepClusters(GatedExperts):
    """An encoder and the centroids of K clusters; the soft assignment to them is the routing distribution.

    Expert k stands for the coarse group that cluster k lies in and says so of every image: where there are no coarse
    labels, a probability of 0.

    Args:
        architecture: of the encoder.
        clusters: how many lie in each coarse group, in order.
        mean: per channel, of pixels scaled to 0..1.
        std: per channel, likewise.
    """

    encoder: Encoder
    sides: Tensor
    experts_learn = False

    def __init__(
        self, architecture: Architecture, clusters: Sequence[int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.encoder = Encoder(architecture)
        self.centroids = nn.Parameter(torch.zeros(sum(clusters), architecture.embedding))
        self.register_buffer("sides", torch.repeat_interleave(torch.arange(len(clusters)), torch.tensor(clusters)))
        self.to(memory_format=torch.channels_last)

    def resize(self, clusters: int) -> None:
        """Have another number of clusters, in one group, whose centroids are yet to be set."""
        self.centroids = nn.Parameter(self.centroids.new_zeros(clusters, self.centroids.shape[1]))
        self.sides = self.sides.new_zeros(clusters)

    def embed(self, images: Tensor) -> Tensor:
        """Return the embeddings of images, [N, H, W] or [N, H, W, C] from 0 to 255, float32 [N, D]."""
        embeddings: Tensor = self.encoder(self.normalise(images))
        return embeddings

    def route_embedded(self, pixels: Tensor, embeddings: Tensor) -> MixtureOutput:  # noqa: ARG002 - as the base does
        """Do as ``route`` with the encoder's embeddings of the images, float32 [N, D]."""
        routing = soft_assignment(embeddings, self.centroids)
        logits = SURE * (2 * self.sides.float() - 1)
        return MixtureOutput(routing.log(), logits.expand(embeddings.shape[0], -1))

    def gate(self, images: Tensor) -> Tensor:
        """Return the soft assignment of images to the clusters, float32 [N, K]."""
        return soft_assignment(self.embed(images), self.centroids)

    def expert(self, index: int, images: Tensor) -> Tensor:
        """Return the probability of the positive coarse label that every image of a cluster has, float32 [N]."""
        logit = SURE * (2 * self.sides[index].float() - 1)
        return logit.sigmoid().expand(images.shape[0])
