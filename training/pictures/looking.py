"""What an expert's first layer looks for, and what it makes of some images."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from training.models.inference import evaluating
from training.models.mixture import GatedExperts
from training.pictures.snapshot import Floats

MOST_EXPERTS, MOST_FILTERS = 8, 16
# The largest side of a picture that is kept, in pixels.
LARGEST_SIDE = 48
NOTHING: Floats = np.zeros((0, 0, 0, 0), np.float32)


def look(model: GatedExperts, images: NDArray[np.uint8] | Floats) -> tuple[Floats, Floats]:
    """Return filters and activations, as a ``Snapshot`` holds them; both of size 0 where nothing looks at pixels.

    Args:
        model: the model, in any mode.
        images: a few raw images, [I, H, W] or [I, H, W, C].
    """
    with evaluating(model) as device:
        pixels = model.normalise(torch.from_numpy(images.copy()).to(device))
        looking = first_layers(model, pixels)
        if not looking:
            return NOTHING, NOTHING
        filters = torch.stack([_filters(layer, pixels.shape[1:]) for _, layer in looking])
        maps = torch.stack([_activations(network, layer, pixels) for network, layer in looking], dim=1)
    return filters.cpu().numpy(), maps.cpu().numpy()


def first_layers(model: GatedExperts, pixels: Tensor) -> list[tuple[nn.Module, nn.Module]]:
    """Return the networks that look at pixels, each with the layer that does so.

    They are the first experts or, where these do not look at pixels, the encoder.

    Args:
        model: the model, in any mode.
        pixels: some images, as ``model.normalise`` returns them.
    """
    learning = model.get_submodule("experts").children() if model.experts_learn else ()
    experts = list(learning)[:MOST_EXPERTS]
    for networks in (experts, [model.encoder]):
        pairs = [(network, _first_layer(network, pixels)) for network in networks]
        found = [(network, layer) for network, layer in pairs if layer is not None]
        if found and len(found) == len(networks):
            return found
    return []


def _first_layer(network: nn.Module, pixels: Tensor) -> nn.Module | None:
    """Return the first layer that learns if it looks at images or at patches of them, else None."""
    if pixels.dim() != 4:
        return None
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.requires_grad:
            return layer
        if isinstance(layer, nn.Linear):
            return layer if layer.in_features == pixels[0].numel() else None
    return None


def _filters(layer: nn.Module, shape: torch.Size) -> Tensor:
    """Return a layer's filters, float32 [F, H, W]: its weights, averaged over channels."""
    weight = layer.get_parameter("weight").detach().float()
    if isinstance(layer, nn.Linear):
        return _reduced(_by_pixel(weight).view(1, *shape).mean(dim=1))
    return weight[:MOST_FILTERS].mean(dim=1)


def _activations(network: nn.Module, layer: nn.Module, pixels: Tensor) -> Tensor:
    """Return what a layer makes of images, float32 [I, H, W].

    It is the weights times the pixels for a linear layer, and the mean of the outputs after a ReLU for a convolution.
    """
    if isinstance(layer, nn.Linear):
        weight = _by_pixel(layer.weight.float()).view(1, *pixels.shape[1:])
        return _reduced((weight * pixels).sum(dim=1))
    found: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: found.append(output))
    network(pixels)
    hook.remove()
    return _reduced(found[0].float().relu().mean(dim=1))


def _by_pixel(weight: Tensor) -> Tensor:
    """Return one number for each pixel, [P]: the weight of the only output, or the deviation of those of several."""
    return weight[0] if len(weight) == 1 else weight.std(dim=0)


def _reduced(maps: Tensor) -> Tensor:
    """Return maps [N, H, W] reduced to sides of at most ``LARGEST_SIDE``."""
    height, width = (min(side, LARGEST_SIDE) for side in maps.shape[1:])
    return adaptive_avg_pool2d(maps[:, None], (height, width))[:, 0]
