"""Random views of images; clusters must not depend on anything that a view may change.

A view may move images in the plane and bend them, which suits drawings, and change them as
``training.data.photographs`` does, which suits photographs.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from training.data.photographs import Photographs, photographed, random_photographs
from training.recipe.recipe import Augmentation

MOTION_KEYS = ("rotation", "scale", "shear", "shift", "elastic")
# Knots on each side of the grid of random displacements, which are interpolated smoothly in between.
ELASTIC_KNOTS = 5


class Motions(NamedTuple):
    """How each of N images is moved and bent in one random view.

    Args:
        affine: float32 [N, 2, 3], affine maps of the plane.
        knots: float32 [N, 2, 5, 5], displacements, interpolated smoothly in between.
    """

    affine: Tensor
    knots: Tensor


class View(NamedTuple):
    """How each of N images is changed in one random view.

    Args:
        motions: motions in the plane; None for none.
        photographs: changes of photographs; None for none.
    """

    motions: Motions | None
    photographs: Photographs | None

    def map(self, part: Callable[[Tensor], Tensor]) -> "View":
        """Return the view of some of the images, such as a process's share, by applying ``part`` to each tensor."""
        return View(
            None if self.motions is None else Motions(*map(part, self.motions)),
            None if self.photographs is None else Photographs(*map(part, self.photographs)),
        )


def random_view(images: int, augmentation: Augmentation, generator: torch.Generator | None = None) -> View:
    """Draw one random view of each of N images.

    Where the augmentation has no motion at all, or no change of photographs at all, no random number is drawn for it.

    Args:
        images: N, the number of images.
        augmentation: how far each change may go.
        generator: draws the numbers; torch's own by default.
    """
    motions = random_motions(images, augmentation, generator)
    return View(motions, random_photographs(images, augmentation, generator))


def viewed(normalise: Callable[[Tensor], Tensor], images: Tensor, view: View) -> Tensor:
    """Return the views of images, normalised, float32 [N, C, H, W].

    Args:
        normalise: the model's normalisation, from images of 0 to 255 to float32 [N, C, H, W].
        images: uint8 [N, H, W] or [N, H, W, C]; N may be 0.
        view: the view of these N images.
    """
    return moved(normalise(photographed(images, view.photographs)), view.motions)


def random_motions(images: int, augmentation: Augmentation, generator: torch.Generator | None = None) -> Motions | None:
    """Draw how images are rotated, scaled, sheared, shifted and bent.

    The elastic part follows Simard, Steinkraus, Platt, "Best Practices for Convolutional Neural Networks
    Applied to Visual Document Analysis", ICDAR 2003.

    Args:
        images: N, the number of images.
        augmentation: how far each change may go.
        generator: draws the numbers; torch's own by default.

    Returns:
        The motions of N images; None if nothing may change, in which case no random number is drawn.
    """
    if not any(getattr(augmentation, key) for key in MOTION_KEYS):
        return None
    affine = _affine(images, augmentation, generator)
    knots = torch.randn(images, 2, ELASTIC_KNOTS, ELASTIC_KNOTS, generator=generator)
    return Motions(affine, knots * augmentation.elastic)


def moved(pixels: Tensor, motions: Motions | None) -> Tensor:
    """Return images with motions applied.

    Args:
        pixels: float32 [N, C, H, W]; N may be 0. Areas that a view uncovers are filled with the border's values.
        motions: motions of these N images; None leaves them as they are.

    Returns:
        float32 [N, C, H, W].
    """
    # A process may have no image of a small batch.
    if motions is None or len(pixels) == 0:
        return pixels
    grid = affine_grid(motions.affine.to(pixels.device), list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid + _bend(pixels, motions.knots), padding_mode="border", align_corners=False)


def _affine(images: int, augmentation: Augmentation, generator: torch.Generator | None) -> Tensor:
    """Return random affine maps of the plane, float32 [N, 2, 3]."""
    angle = _uniform(generator, images) * math.radians(augmentation.rotation)
    width, height = (_uniform(generator, 2, images) * augmentation.scale).exp()
    shear = _uniform(generator, images) * augmentation.shear
    right, down = _uniform(generator, 2, images) * augmentation.shift
    cosine, sine = angle.cos(), angle.sin()
    rows = [cosine * width, shear * cosine - sine * height, right, sine * width, shear * sine + cosine * height, down]
    return torch.stack(rows, dim=1).view(images, 2, 3)


def _bend(pixels: Tensor, knots: Tensor) -> Tensor:
    """Return smooth displacements of every pixel, float32 [N, H, W, 2]."""
    smooth = interpolate(knots.to(pixels.device), pixels.shape[2:], mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)


def _uniform(generator: torch.Generator | None, *shape: int) -> Tensor:
    """Return random numbers from -1 to 1, float32."""
    return torch.rand(*shape, generator=generator) * 2 - 1
