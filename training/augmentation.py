"""Random views of images: what a view may change, a cluster must not depend on."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from training.recipe import Augmentation

ELASTIC_KNOTS = 5  # a side of the grid of random displacements, smooth in between


def random_views(pixels: Tensor, augmentation: Augmentation) -> Tensor:
    """Return one random view of each image, rotated, scaled, sheared, shifted and bent.

    The elastic part follows Simard, Steinkraus, Platt, "Best Practices for Convolutional Neural Networks
    Applied to Visual Document Analysis", ICDAR 2003.

    Args:
        pixels: float32 [N, C, H, W]; what a view uncovers is filled with the border's values.
        augmentation: how far each change may go.

    Returns:
        float32 [N, C, H, W], ``pixels`` themselves if nothing may change.
    """
    if not any(augmentation.model_dump().values()):
        return pixels
    grid = affine_grid(_affine(len(pixels), augmentation).to(pixels.device), list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid + _bend(pixels, augmentation), padding_mode="border", align_corners=False)


def _affine(images: int, augmentation: Augmentation) -> Tensor:
    """Return random affine maps of the plane, float32 [N, 2, 3]."""
    angle = _uniform(images) * math.radians(augmentation.rotation)
    width, height = (_uniform(2, images) * augmentation.scale).exp()
    shear = _uniform(images) * augmentation.shear
    right, down = _uniform(2, images) * augmentation.shift
    cosine, sine = angle.cos(), angle.sin()
    rows = [cosine * width, shear * cosine - sine * height, right, sine * width, shear * sine + cosine * height, down]
    return torch.stack(rows, dim=1).view(images, 2, 3)


def _bend(pixels: Tensor, augmentation: Augmentation) -> Tensor:
    """Return smooth random displacements of every pixel, float32 [N, H, W, 2]."""
    knots = torch.randn(len(pixels), 2, ELASTIC_KNOTS, ELASTIC_KNOTS) * augmentation.elastic
    smooth = interpolate(knots.to(pixels.device), pixels.shape[2:], mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)


def _uniform(*shape: int) -> Tensor:
    """Return float32 numbers from -1 to 1."""
    return torch.rand(*shape) * 2 - 1
