"""The activations of each convolution of a trained network, pooled to a number of values that a probe can handle.

The sizes follow Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, and Caron et al., arXiv:1807.05520.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.nn.modules.batchnorm import _BatchNorm

from clustnet.errors import UserError
from training.engine.seeding import DrawingFrom, generator_of
from training.models.build import build_network
from training.models.inference import batches, evaluating
from training.models.mixture import GatedExperts
from training.models.spec import ImageSpec, NetworkSpec
from training.runs.run_folder import RunFolder

# The most values of an image after pooling.
MOST_VALUES = 9_600
NON_LINEARITIES = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.Sigmoid, nn.Tanh)
EMBEDDING = "embedding"
# Training images on which the statistics of an untrained network's batch normalisation are measured.
SETTLING_IMAGES = 1_000

Floats = NDArray[np.float32]


def image_spec(folder: RunFolder) -> ImageSpec:
    """Return the spec of a run's network, which reads images.

    Raises:
        UserError: the run has no finished epoch, or its network reads embeddings.
    """
    spec = folder.spec()
    if not isinstance(spec, ImageSpec):
        raise UserError(
            f"{folder.path} reads the embeddings of an encoder, without convolutions; name a run on images."
        )
    return spec


def layers_of(model: GatedExperts, image: NDArray[np.uint8]) -> dict[str, nn.Module]:
    """Return the layers that are probed: the non-linearity after each convolution, ``conv1`` first, and the encoder.

    Args:
        model: the network.
        image: one raw image, uint8 [H, W] or [H, W, C].

    Raises:
        UserError: the network has no convolution.
    """
    order: list[nn.Module] = []
    leaves = [layer for layer in model.encoder.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(lambda layer, *_: order.append(layer)) for layer in leaves]
    with evaluating(model) as device:
        model.encoder(model.normalise(torch.from_numpy(image[None].copy()).to(device)))
    for hook in hooks:
        hook.remove()
    places = [place for place, layer in enumerate(order) if isinstance(layer, nn.Conv2d)]
    if not places:
        raise UserError("The run's network has no convolution, so there is nothing to look into; name another run.")
    return {f"conv{number}": _activated(order[place:]) for number, place in enumerate(places, 1)} | {
        EMBEDDING: model.encoder
    }


def _activated(following: list[nn.Module]) -> nn.Module:
    """Return the non-linearity that follows the first layer, a convolution; the convolution itself if none does."""
    for layer in following[1:]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            break
        if isinstance(layer, NON_LINEARITIES):
            return layer
    return following[0]


def activations(model: GatedExperts, images: NDArray[np.uint8], layer: nn.Module) -> Floats:
    """Return the pooled outputs of a layer, float32 [N, C, S]: the means of C channels over S parts of an image.

    Args:
        model: the network.
        images: uint8 [N, H, W] or [N, H, W, C].
        layer: one of ``layers_of``.
    """
    found: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: found.append(pooled(output).cpu()))
    with evaluating(model) as device:
        for part in batches(images):
            model.encoder(model.normalise(part.to(device)))
    hook.remove()
    values: Floats = torch.cat(found).numpy()
    return values


def pixels(images: NDArray[np.uint8]) -> Floats:
    """Return the pooled pixels of images, uint8 [N, H, W] or [N, H, W, C], as float32 [N, V, 1] from 0 to 1."""
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    parts = [pooled(part.float() / 255).reshape(len(part), -1, 1) for part in batches(planes)]
    values: Floats = torch.cat(parts).numpy()
    return values


def pooled(maps: Tensor) -> Tensor:
    """Return the means of feature maps over a grid, [N, C, H, W] -> [N, C, S] with C * S up to ``MOST_VALUES``.

    For maps without height and width, [N, C], S is 1.
    """
    if maps.dim() == 2:
        return maps[:, :, None]
    side = max(1, math.isqrt(MOST_VALUES // maps.shape[1]))
    smaller = adaptive_avg_pool2d(maps, (min(side, maps.shape[2]), min(side, maps.shape[3])))
    return smaller.flatten(2)


def untrained(spec: NetworkSpec, seed: int, images: NDArray[np.uint8]) -> GatedExperts:
    """Return the network as it was before training, with the statistics of batch normalisation measured on images.

    Without these, the values of an untrained network would vanish or grow from layer to layer.

    Args:
        spec: the network's spec.
        seed: the recipe's seed.
        images: images of the training split, uint8 [N, ...].
    """
    with DrawingFrom(generator_of(seed)):
        network = build_network(spec)
    normalisations = [layer for layer in network.encoder.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 1.0
    with torch.no_grad():
        network.train().encoder(network.normalise(torch.from_numpy(images[:SETTLING_IMAGES].copy())))
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum
    return network.eval()
