"""The gated mixture of experts on the embeddings of a frozen encoder."""

import torch
from torch import Tensor, nn

from training.models.config import EmbeddingModel
from training.models.experts import Silent, free_logits
from training.models.mixture import GatedExperts, MixtureOutput, coarse_probability

# Under which an embedding has no direction.
SMALLEST_LENGTH = 1e-12
# Embeddings whose moments are computed together.
CHUNK = 4096


class Projection(nn.Module):
    """Embeddings float32 [N, D] -> the principal components of their directions, float32 [N, P].

    All components are scaled by one factor, such that the mean variance is 1 and the geometry stays.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("components", torch.zeros(features, components))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the components of each embedding."""
        return (unit(embeddings) - self.mean) @ self.components


class EmbeddingMixture(GatedExperts):
    """A gate of two layers over E linear experts; all read the principal components of embeddings.

    What a ``GatedExperts`` calls images are embeddings float32 [N, D], and its encoder is the identity.

    Args:
        model: the recipe's model part.
        features: D, length of an embedding.
        components: P, how many principal components are read.
        label_count: K, how many coarse labels there are.
    """

    def __init__(self, model: EmbeddingModel, features: int, components: int, label_count: int) -> None:
        super().__init__()
        self.label_count = label_count
        self.normalise = Projection(features, components)
        self.encoder = nn.Identity()
        self.head = nn.Sequential(
            nn.Linear(components, model.hidden), nn.ReLU(), nn.Linear(model.hidden, model.experts)
        )
        self.experts = nn.ModuleList(_expert(model, components, free_logits(label_count)) for _ in range(model.experts))

    def route_embedded(self, pixels: Tensor, embeddings: Tensor) -> MixtureOutput:
        """Do as ``route``; both are the principal components, float32 [N, P]."""
        logits = torch.cat([expert(pixels) for expert in self.experts], dim=1)
        logits = logits.reshape(embeddings.shape[0], len(self.experts), free_logits(self.label_count))
        return MixtureOutput(self.head(embeddings).log_softmax(dim=1), logits)

    def gate(self, images: Tensor) -> Tensor:
        """Return the routing distribution of embeddings, float32 [N, E]."""
        logits: Tensor = self.head(self.normalise(images))
        return logits.softmax(dim=1)

    def expert(self, index: int, images: Tensor) -> Tensor:
        """Return one expert's distribution over the coarse labels, float32 [N, K]."""
        return coarse_probability(self.experts[index](self.normalise(images)))


def unit(embeddings: Tensor) -> Tensor:
    """Return embeddings, float32 [N, D], scaled to length 1; zeros stay zeros."""
    lengths = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    directions: Tensor = embeddings / lengths.clamp(min=SMALLEST_LENGTH)
    return directions


@torch.no_grad()
def fit_projection(projection: nn.Module, embeddings: Tensor) -> None:
    """Set a ``Projection`` to the principal components of embeddings, float32 [N, D]; no label is read."""
    if not isinstance(projection, Projection):
        raise TypeError("only a Projection has components")
    mean, covariance = _moments(embeddings)
    # In ascending order.
    variances, vectors = torch.linalg.eigh(covariance)
    count = projection.components.shape[1]
    kept = vectors[:, -count:].flip(1)
    # Either sign is right, and which comes out depends on the machine.
    kept = kept * kept.gather(0, kept.abs().argmax(dim=0, keepdim=True)).sign()
    scale = variances[-count:].mean().clamp(min=1e-20).sqrt()
    projection.mean.copy_(mean)
    projection.components.copy_(kept / scale)


def _moments(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the directions of embeddings, float64 [D] and [D, D]; few are held at a time."""
    parts = torch.split(embeddings, CHUNK)
    mean = sum((unit(part.double()).sum(dim=0) for part in parts), torch.zeros(())) / len(embeddings)
    covariance = torch.zeros(())
    for part in parts:
        centred = unit(part.double()) - mean
        covariance = covariance + centred.T @ centred
    return mean, covariance / len(embeddings)


def _expert(model: EmbeddingModel, components: int, outputs: int) -> nn.Module:
    """Return one expert: [N, P] -> [N, L]."""
    if outputs == 0:
        return Silent()
    if model.expert == "linear":
        return nn.Linear(components, outputs)
    few = nn.Linear(components, model.expert_inputs, bias=False).requires_grad_(False)
    return nn.Sequential(few, nn.Linear(model.expert_inputs, outputs))
