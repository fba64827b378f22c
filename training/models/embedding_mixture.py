"""The gated mixture of experts on the embeddings of a frozen encoder."""

import torch
from torch import Tensor, nn

from training.models.config import EmbeddingModel
from training.models.experts import Silent, free_logits
from training.models.mixture import GatedExperts, MixtureOutput, coarse_probability

# Length below which an embedding has no direction.
SMALLEST_LENGTH = 1e-12
# Embeddings whose moments are computed together.
CHUNK = 4096
# Parts of the embeddings, each of which is projected on components that are fitted to the others.
FOLDS = 5


class Projection(nn.Module):
    """Embeddings float32 [N, D] -> principal components of their directions and the length of the rest, [N, P + 1].

    All components are scaled by the same factor, which gives them a mean variance of 1 and keeps the geometry. The last
    column is the length of what they leave out, which gives away images of another kind (Wang et al., "ViM:
    Out-Of-Distribution with Virtual-logit Matching", arXiv:2203.10807).
    """

    mean: Tensor
    components: Tensor

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("components", torch.zeros(features, components))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the components of each embedding, and the length of the rest."""
        centred = unit(embeddings) - self.mean
        found = centred @ self.components
        energy = centred.square().sum(dim=1) - (found.square() / self.components.square().sum(dim=0)).sum(dim=1)
        return torch.cat([found, energy.clamp(min=0).sqrt()[:, None]], dim=1)


def components_of(rows: Tensor) -> Tensor:
    """Return the components alone, float32 [N, P], of what a ``Projection`` returns."""
    return rows[:, :-1]


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
        self.rest_column: int = components
        self.normalise = Projection(features, components)
        self.encoder = nn.Identity()
        self.head = nn.Sequential(
            nn.Linear(components, model.hidden), nn.ReLU(), nn.Linear(model.hidden, model.experts)
        )
        self.experts = nn.ModuleList(_expert(model, components, free_logits(label_count)) for _ in range(model.experts))

    def route_embedded(self, pixels: Tensor, embeddings: Tensor) -> MixtureOutput:
        """Do as ``route``; both are what the projection returns, float32 [N, P + 1]."""
        found = components_of(pixels)
        logits = torch.cat([expert(found) for expert in self.experts], dim=1)
        logits = logits.reshape(embeddings.shape[0], len(self.experts), free_logits(self.label_count))
        return MixtureOutput(self.head(components_of(embeddings)).log_softmax(dim=1), logits)

    def gate_embedding(self, images: Tensor) -> Tensor:
        """Return the outputs of the gate's first layer, float32 [N, D], as its inputs never change in training."""
        hidden: Tensor = self.head[:-1](components_of(self.normalise(images)))
        return hidden

    def gate(self, images: Tensor) -> Tensor:
        """Return the routing distribution of embeddings, float32 [N, E]."""
        logits: Tensor = self.head(components_of(self.normalise(images)))
        return logits.softmax(dim=1)

    def expert(self, index: int, images: Tensor) -> Tensor:
        """Return one expert's distribution over the coarse labels, float32 [N, K]."""
        return coarse_probability(self.experts[index](components_of(self.normalise(images))))


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


def held_out_rest(embeddings: Tensor, components: int) -> Tensor:
    """Return the length of what components leave out of each embedding, by components fitted to others, float32 [N].

    Components leave less out of the few embeddings that they were fitted to than out of new ones.

    Args:
        embeddings: float32 [N, D], N at least 2.
        components: P.
    """
    rest, fold = torch.empty(len(embeddings)), torch.arange(len(embeddings)) % min(FOLDS, len(embeddings))
    for number in range(int(fold.max()) + 1):
        projection = Projection(embeddings.shape[1], components)
        fit_projection(projection, embeddings[fold != number])
        rest[fold == number] = projection(embeddings[fold == number])[:, -1]
    return rest


def _moments(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the directions of embeddings, float64 [D] and [D, D], computed in chunks."""
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
