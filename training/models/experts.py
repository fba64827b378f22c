"""Experts of configurable capacity; each returns the free logits of its distribution over K coarse labels."""

from torch import Tensor, nn

from training.models.config import MixtureModel

Shape = tuple[int, int, int]


def free_logits(label_count: int) -> int:
    """Return L, the number of free logits of a distribution over K coarse labels: 0 for 1, 1 for 2, otherwise K."""
    return label_count if label_count > 2 else label_count - 1


def make_expert(model: MixtureModel, shape: Shape, outputs: int) -> nn.Module:
    """Return one expert: [N, C, H, W] -> [N, L], or [N, D] -> [N, L] for ``shared``.

    Args:
        model: the recipe's model part.
        shape: (C, H, W) of the normalised images.
        outputs: L, the number of free logits; an expert without any has no parameters.
    """
    if outputs == 0:
        return Silent()
    if model.expert == "shared":
        return nn.Linear(model.embedding, outputs)
    if model.expert == "linear":
        return linear(shape, outputs)
    if model.expert == "small_cnn":
        return small_cnn(shape, outputs, model.expert_channels)
    return large_cnn(shape, outputs)


class Silent(nn.Module):
    """An expert without logits, for a single coarse label: [N, ...] -> [N, 0]."""

    def forward(self, evidence: Tensor) -> Tensor:
        """Return no logit for each image."""
        return evidence.flatten(1)[:, :0]


def linear(shape: Shape, outputs: int) -> nn.Module:
    """Return one linear layer on the pixels, too weak to solve the task alone: [N, C, H, W] -> [N, L]."""
    channels, height, width = shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, outputs))


def small_cnn(shape: Shape, outputs: int, channels: tuple[int, int] = (3, 6)) -> nn.Module:
    """Return two small convolutions and a linear layer: [N, C, H, W] -> [N, L]."""
    features, size = _convolutions(shape, *channels)
    return nn.Sequential(features, nn.Linear(size, outputs))


def large_cnn(shape: Shape, outputs: int) -> nn.Module:
    """Return an expert that can solve the task alone, so that the routing collapses: [N, C, H, W] -> [N, L]."""
    features, size = _convolutions(shape, 16, 32)
    return nn.Sequential(features, nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, outputs))


def _convolutions(shape: Shape, first: int, second: int) -> tuple[nn.Module, int]:
    """Return two convolutions, each halving the image, and the number of features they give."""
    layers = nn.Sequential(
        nn.Conv2d(shape[0], first, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(first, second, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
    )
    return layers, second * (-(-shape[1] // 4)) * (-(-shape[2] // 4))
