"""The gated mixture of experts.

Jacobs, Jordan, Nowlan, Hinton, "Adaptive Mixtures of Local Experts", Neural Computation 3, 1991.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from training.models.config import MixtureModel
from training.models.encoder import Encoder, Normalise
from training.models.experts import free_logits, make_expert

# Logit of an expert's only answer; its probability is 0 or 1 within 1e-12.
CERTAIN_LOGIT = 30.0


class MixtureOutput(NamedTuple):
    """What the mixture computes for N images.

    Args:
        log_routing: float32 [N, E], logarithm of the routing distribution.
        expert_logit: float32 [N, E, L], the free logits of each expert's distribution over the K coarse labels: none
            for K = 1, that of the second coarse label for K = 2, one for each coarse label for K of 3 or more.
    """

    log_routing: Tensor
    expert_logit: Tensor


def coarse_probability(expert_logit: Tensor) -> Tensor:
    """Return each expert's distribution over the K coarse labels, float32 [N, E, K].

    Args:
        expert_logit: float32 [N, E, L], as in ``MixtureOutput``.
    """
    free = expert_logit.shape[-1]
    if free == 0:
        return expert_logit.new_ones(*expert_logit.shape[:-1], 1)
    if free == 1:
        return torch.cat([(-expert_logit).sigmoid(), expert_logit.sigmoid()], dim=-1)
    return expert_logit.softmax(dim=-1)


def certain_logits(labels: Tensor, label_count: int) -> Tensor:
    """Return the free logits, float32 [E, L], of experts that each predict one coarse label for every image.

    Args:
        labels: int64 [E], the coarse label of each.
        label_count: K, how many there are.
    """
    sure = CERTAIN_LOGIT * (2 * one_hot(labels, label_count).float() - 1)
    return sure[:, 1:] if label_count <= 2 else sure


class GatedExperts(nn.Module):
    """What every method trains: a gate that routes each image to one of E experts, which predict its coarse label.

    A subclass sets the attributes and implements ``route_embedded``, ``gate`` and ``expert``.
    """

    label_count: int  # K
    normalise: nn.Module  # uint8 [N, H, W] or [N, H, W, C] -> float32 [N, C, H, W]
    encoder: nn.Module  # float32 [N, C, H, W] -> embeddings float32 [N, D]
    experts_learn = True  # False for experts whose answer is the same for every image
    rest_column: int | None = None  # column of the embeddings with the length of what the others leave out of an image
    cluster_labels: Tensor  # int64 [E], the coarse label that each of those predicts

    def forward(self, images: Tensor) -> MixtureOutput:
        """Route images uint8 [N, H, W] or [N, H, W, C] and run every expert."""
        return self.route(self.normalise(images))

    def route(self, pixels: Tensor) -> MixtureOutput:
        """Route normalised images float32 [N, C, H, W] and run every expert."""
        return self.route_embedded(pixels, self.encoder(pixels))

    def route_embedded(self, pixels: Tensor, embeddings: Tensor) -> MixtureOutput:
        """Do as ``route`` with the encoder's embeddings of the images, float32 [N, D]."""
        raise NotImplementedError

    def gate_embedding(self, images: Tensor) -> Tensor:
        """Return the gate's embeddings of images, from which it routes them, float32 [N, D]."""
        embeddings: Tensor = self.encoder(self.normalise(images))
        return embeddings

    def gate(self, images: Tensor) -> Tensor:
        """Return the routing distribution of images, float32 [N, E]."""
        raise NotImplementedError

    def expert(self, index: int, images: Tensor) -> Tensor:
        """Return one expert's distribution over the coarse labels, float32 [N, K]."""
        raise NotImplementedError


class ClusterExperts(GatedExperts):
    """Experts that stand for clusters: each predicts the coarse label of its cluster for every image.

    Args:
        clusters: number of clusters of each of the K coarse labels, in order.
    """

    experts_learn = False

    def __init__(self, clusters: Sequence[int]) -> None:
        super().__init__()
        self.label_count = len(clusters)
        labels = torch.repeat_interleave(torch.arange(len(clusters)), torch.tensor(clusters))
        self.register_buffer("cluster_labels", labels)

    def output(self, log_routing: Tensor) -> MixtureOutput:
        """Return the mixture's output for images with this logarithm of the routing, float32 [N, E]."""
        return MixtureOutput(log_routing, self._logits().expand(log_routing.shape[0], -1, -1))

    def expert(self, index: int, images: Tensor) -> Tensor:
        """Return the distribution over the coarse labels that every image of a cluster has, float32 [N, K]."""
        return coarse_probability(self._logits()[index]).expand(images.shape[0], -1)

    def _logits(self) -> Tensor:
        """Return the free logits of each cluster's coarse label, float32 [E, L]."""
        return certain_logits(self.cluster_labels, self.label_count)


class MixtureOfExperts(GatedExperts):
    """A CNN gate over E experts.

    Args:
        model: the recipe's model part.
        image_shape: shape of one raw image, (H, W) or (H, W, C).
        mean: mean of each channel, for pixels scaled to 0..1.
        std: standard deviation of each channel, likewise.
        label_count: K, how many coarse labels there are.
    """

    def __init__(
        self,
        model: MixtureModel,
        image_shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        label_count: int,
    ) -> None:
        super().__init__()
        height, width, *channels = image_shape
        self.label_count = label_count
        self.pixel_shape = (channels[0] if channels else 1, height, width)
        self.normalise = Normalise(mean, std)
        self.encoder = Encoder(self.pixel_shape, model.channels, model.embedding, model.batch_norm)
        self.head = nn.Linear(model.embedding, model.experts)
        self.shared = model.expert == "shared"
        outputs = free_logits(label_count)
        self.experts = nn.ModuleList(make_expert(model, self.pixel_shape, outputs) for _ in range(model.experts))
        # Channels last makes convolutions a third faster, on CPU and GPU.
        self.to(memory_format=torch.channels_last)

    def route_embedded(self, pixels: Tensor, embeddings: Tensor) -> MixtureOutput:
        """Do as ``route`` with the encoder's embeddings of the images, float32 [N, D]."""
        evidence = embeddings if self.shared else pixels
        # One reshape, as the exported graph would otherwise add an axis for each expert.
        logits = torch.cat([expert(evidence) for expert in self.experts], dim=1)
        logits = logits.reshape(embeddings.shape[0], len(self.experts), free_logits(self.label_count))
        return MixtureOutput(self.head(embeddings).log_softmax(dim=1), logits)

    def gate(self, images: Tensor) -> Tensor:
        """Return the routing distribution of images, float32 [N, E]."""
        return torch.softmax(self.head(self.encoder(self.normalise(images))), dim=1)

    def expert(self, index: int, images: Tensor) -> Tensor:
        """Return one expert's distribution over the coarse labels, float32 [N, K]."""
        pixels = self.normalise(images)
        return coarse_probability(self.experts[index](self.encoder(pixels) if self.shared else pixels))

    def gate_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the gate: encoder and head."""
        return chain(self.encoder.parameters(), self.head.parameters())


def straight_through(log_routing: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Sample one expert per image, with the gradient of the distribution itself.

    The straight-through estimator of Bengio, Leonard, Courville, "Estimating or Propagating Gradients
    Through Stochastic Neurons", arXiv:1308.3432.

    Args:
        log_routing: float32 [N, E], logarithm of the routing distribution.
        generator: draws the experts, on the CPU; torch's own by default.

    Returns:
        float32 [N, E], one-hot in value, with the softmax's gradient.
    """
    routing = log_routing.exp()
    chosen = torch.multinomial(routing.detach().cpu(), 1, generator=generator).to(routing.device)
    sampled = torch.zeros_like(routing).scatter_(1, chosen, 1.0)
    return sampled + routing - routing.detach()
