"""Experts of configurable capacity; each gives one logit an image for the positive coarse label."""

from torch import nn

from training.recipe.recipe import Model

Shape = tuple[int, int, int]


def make_expert(model: Model, shape: Shape) -> nn.Module:
    """Make one expert: [N, C, H, W] -> [N, 1], or [N, D] -> [N, 1] for ``shared``.

    Args:
        model: the recipe's model part.
        shape: (C, H, W) of the normalised images.
    """
    if model.expert == "shared":
        return nn.Linear(model.embedding, 1)
    if model.expert == "linear":
        return linear(shape)
    return small_cnn(shape, model.expert_channels) if model.expert == "small_cnn" else large_cnn(shape)


def linear(shape: Shape) -> nn.Module:
    """One linear layer on the pixels, too weak to solve the task alone: [N, C, H, W] -> [N, 1]."""
    channels, height, width = shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 1))


def small_cnn(shape: Shape, channels: tuple[int, int] = (3, 6)) -> nn.Module:
    """Two small convolutions: [N, C, H, W] -> [N, 1]."""
    features, size = _convolutions(shape, *channels)
    return nn.Sequential(features, nn.Linear(size, 1))


def large_cnn(shape: Shape) -> nn.Module:
    """Enough capacity to solve the task alone, so that the routing collapses: [N, C, H, W] -> [N, 1]."""
    features, size = _convolutions(shape, 16, 32)
    return nn.Sequential(features, nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 1))


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
