"""Random views of photographs: crop, flip, colours and blur, for any number of images at once.

The crop is that of Szegedy et al., "Going Deeper with Convolutions", CVPR 2015; the colours are those of Howard, "Some
Improvements on Deep Convolutional Neural Network Based Image Classification", arXiv:1312.5402; the hue and the blur are
those of Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual Representations"
(SimCLR), ICML 2020, arXiv:2002.05709. Each operation computes what torchvision's does, but with one factor per image
instead of one for the whole batch.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms.v2.functional import rgb_to_grayscale

from training.recipe.recipe import Augmentation

KEYS = ("crop", "flip", "brightness", "contrast", "saturation", "hue", "blur")
# Largest factor by which the aspect ratio of a crop may differ from that of its image.
LARGEST_STRETCH = 4 / 3
# Standard deviation, in pixels, of a blur that leaves an image as it is.
SMALLEST_BLUR = 1e-2


class Photographs(NamedTuple):
    """How each of N photographs is changed in one random view.

    Args:
        boxes: float32 [N, 4], the crops: width and height as shares of the image's, and the centre's position across
            and down, -1 to 1.
        mirrored: bool [N], whether the image is flipped left to right.
        brightness: float32 [N], factor, 1 for no change.
        contrast: float32 [N], factor, 1 for no change.
        saturation: float32 [N], factor, 1 for no change.
        hue: float32 [N], turns around the colour wheel, 0 for no change.
        blur: float32 [N], standard deviation in pixels, 0 for no change.
    """

    boxes: Tensor
    mirrored: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    blur: Tensor


def random_photographs(
    images: int, augmentation: Augmentation, generator: torch.Generator | None = None
) -> Photographs | None:
    """Draw how photographs are cropped, flipped, coloured and blurred.

    Args:
        images: N, the number of images.
        augmentation: how far each change may go.
        generator: draws the numbers; torch's own by default.

    Returns:
        The changes of N images; None if nothing may change, in which case no random number is drawn.
    """
    if not any(getattr(augmentation, key) for key in KEYS):
        return None
    boxes = _boxes(torch.rand(4, images, generator=generator), augmentation.crop)
    mirrored = torch.rand(images, generator=generator) < augmentation.flip
    brightness, contrast, saturation, hue = torch.rand(4, images, generator=generator) * 2 - 1
    return Photographs(
        boxes,
        mirrored,
        1 + brightness * augmentation.brightness,
        1 + contrast * augmentation.contrast,
        1 + saturation * augmentation.saturation,
        hue * augmentation.hue,
        torch.rand(images, generator=generator) * augmentation.blur,
    )


def _boxes(uniform: Tensor, crop: float) -> Tensor:
    """Return boxes inside the image, float32 [N, 4], made of random numbers from 0 to 1, [4, N]."""
    area = 1 - crop * uniform[0]
    # A crop that is stretched by more than 1 / area would not fit into its image.
    stretch = (-area.log()).clamp(max=math.log(LARGEST_STRETCH)) * (2 * uniform[1] - 1)
    width, height = (area * stretch.exp()).sqrt(), (area / stretch.exp()).sqrt()
    across, down = (1 - width) * (2 * uniform[2] - 1), (1 - height) * (2 * uniform[3] - 1)
    return torch.stack([width, height, across, down], dim=1)


def photographed(images: Tensor, changes: Photographs | None) -> Tensor:
    """Return images with changes applied.

    Args:
        images: uint8 [N, H, W] or [N, H, W, C]; N may be 0.
        changes: changes of these N images; None leaves them as they are.

    Returns:
        float32 of the same shape, 0 to 255; the images themselves if there are no changes.
    """
    if changes is None or len(images) == 0:
        return images
    planes = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
    pixels = planes.float() / 255
    for change, numbers, neutral in zip(CHANGES, changes, NEUTRAL, strict=True):
        if (numbers != torch.tensor(neutral)).any():
            pixels = change(pixels, numbers.to(pixels.device))
    pixels = pixels * 255
    return pixels.squeeze(1) if images.dim() == 3 else pixels.permute(0, 2, 3, 1)


def cropped(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Return crops at the size of the images; ``pixels`` is float32 [N, C, H, W], ``boxes`` as in ``Photographs``."""
    width, height, across, down = boxes.unbind(dim=1)
    nothing = torch.zeros_like(width)
    affine = torch.stack([width, nothing, across, nothing, height, down], dim=1).view(-1, 2, 3)
    grid = affine_grid(affine, list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def flipped(pixels: Tensor, mirrored: Tensor) -> Tensor:
    """Return images, flipped left to right where ``mirrored``, bool [N], is true."""
    return torch.where(_each(mirrored), pixels.flip(3), pixels)


def brightened(pixels: Tensor, factors: Tensor) -> Tensor:
    """Return images whose pixels are multiplied, as ``adjust_brightness`` does."""
    return (pixels * _each(factors)).clamp(0, 1)


def contrasted(pixels: Tensor, factors: Tensor) -> Tensor:
    """Return images that are blended with their mean grey, as ``adjust_contrast`` does."""
    return _blended(pixels, _grey(pixels).mean(dim=(1, 2, 3), keepdim=True), factors)


def saturated(pixels: Tensor, factors: Tensor) -> Tensor:
    """Return images that are blended with their grey, as ``adjust_saturation`` does; grey images stay as they are."""
    return pixels if pixels.shape[1] == 1 else _blended(pixels, _grey(pixels), factors)


def hue_turned(pixels: Tensor, turns: Tensor) -> Tensor:
    """Return images whose hue is turned, as ``adjust_hue`` does; grey images stay as they are.

    It follows Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978, in the form without a case for each of the sextants.
    """
    if pixels.shape[1] == 1:
        return pixels
    value, least = pixels.amax(dim=1, keepdim=True), pixels.amin(dim=1, keepdim=True)
    chroma = value - least
    red, green, blue = (pixels / torch.where(chroma > 0, chroma, 1)).chunk(3, dim=1)
    of_green = torch.where(value == pixels[:, 1:2], blue - red + 2, red - green + 4)
    hue = torch.where(value == pixels[:, :1], green - blue, of_green) + 6 * _each(turns)
    places = (torch.tensor([5.0, 3.0, 1.0], device=pixels.device).view(1, 3, 1, 1) + hue) % 6
    return value - chroma * torch.minimum(places, 4 - places).clamp(0, 1)


def blurred(pixels: Tensor, deviations: Tensor) -> Tensor:
    """Return images blurred by Gaussians of their own standard deviation in pixels, renormalised at the border."""
    across, down = (_blur(deviations, side) for side in (pixels.shape[3], pixels.shape[2]))
    return down.unsqueeze(1) @ pixels @ across.unsqueeze(1).transpose(2, 3)


CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    *(cropped, flipped, brightened, contrasted, saturated, hue_turned, blurred),
)
# The value of each change that leaves an image as it is.
NEUTRAL = ((1.0, 1.0, 0.0, 0.0), False, 1.0, 1.0, 1.0, 0.0, 0.0)


def _blur(deviations: Tensor, side: int) -> Tensor:
    """Return the weights, for each image, of a line's pixels in each of its blurred pixels, float32 [N, side, side]."""
    places = torch.arange(side, device=deviations.device, dtype=torch.float32)
    distances = (places[:, None] - places).square()
    weights = (-distances / (2 * deviations.clamp(min=SMALLEST_BLUR).square()).view(-1, 1, 1)).exp()
    return weights / weights.sum(dim=2, keepdim=True)


def _blended(pixels: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """Return ``factor * pixels + (1 - factor) * other``, 0 to 1."""
    return (_each(factors) * pixels + (1 - _each(factors)) * other).clamp(0, 1)


def _grey(pixels: Tensor) -> Tensor:
    """Return images in grey, float32 [N, 1, H, W]."""
    grey: Tensor = pixels if pixels.shape[1] == 1 else rgb_to_grayscale(pixels)
    return grey


def _each(numbers: Tensor) -> Tensor:
    """Return one number per image, [N], as [N, 1, 1, 1]."""
    return numbers.view(-1, 1, 1, 1)
