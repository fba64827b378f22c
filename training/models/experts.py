"""Experts of configurable capacity; each gives one logit an image for the positive coarse label."""

from collections.abc import Callable

from torch import nn

Shape = tuple[int, int, int]


def linear(shape: Shape) -> nn.Module:
    """One linear layer on the pixels, too weak to solve the task alone: [N, C, H, W] -> [N, 1]."""
    channels, height, width = shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 1))


def small_cnn(shape: Shape) -> nn.Module:
    """Two small convolutions: [N, C, H, W] -> [N, 1]."""
    features, size = _convolutions(shape, 3, 6)
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


CAPACITIES: dict[str, Callable[[Shape], nn.Module]] = {
    "linear": linear,
    "small_cnn": small_cnn,
    "large_cnn": large_cnn,
}
