"""The image that a filter responds to most, found by gradient ascent.

Erhan, Bengio, Courville, Vincent, "Visualizing Higher-Layer Features of a Deep Network", 2009. The blur every few
steps, without which deep layers give noise, is that of Yosinski, Clune, Nguyen, Fuchs, Lipson, "Understanding Neural
Networks Through Deep Visualization", arXiv:1506.06579.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms.v2.functional import gaussian_blur

from training.engine.seeding import generator_of
from training.models.encoder import Normalise
from training.models.inference import evaluating
from training.models.mixture import GatedExperts

STEPS, BLUR_EVERY = 200, 4
BLUR_KERNEL, BLUR_DEVIATION = 3, 0.7
# In standard deviations of a pixel: the size of a step, and how much each layer from the first on adds to it.
STEP_SIZE, STEP_GROWTH = 0.05, 0.01
# The share of their value that pixels lose in every step.
DECAY = 0.005
# Standard deviation of the noise that ascent begins with.
NOISE = 0.1
# Keeps a gradient of 0 from being divided by 0.
SMALLEST_GRADIENT = 1e-12


def ascend(
    model: GatedExperts, layer: nn.Module, filters: Sequence[int], depth: int, shape: tuple[int, int, int], seed: int
) -> NDArray[np.uint8]:
    """Return one image for each filter of a layer, uint8 [F, H, W, C].

    Ascent raises the log-softmax of the filter's mean output over those of all the layer's filters.

    Args:
        model: the network, which reads images.
        layer: one of ``training.probe.activations.layers_of``.
        filters: F channels of the layer's output.
        depth: number of the layer, from 1; steps grow with it.
        shape: C, H and W of the images.
        seed: seeds the noise.
    """
    normalise = model.normalise
    assert isinstance(normalise, Normalise)  # noqa: S101 - the network reads images
    found: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: found.append(output))
    wanted, size = torch.tensor(filters), STEP_SIZE + STEP_GROWTH * depth
    with evaluating(model) as device, torch.enable_grad():
        pixels = (torch.randn(len(filters), *shape, generator=generator_of(seed)) * NOISE).to(device)
        for step in range(STEPS):
            pixels = pixels.detach().requires_grad_()
            found.clear()
            model.encoder(pixels)
            means = found[0].flatten(2).mean(dim=2)
            (gradient,) = torch.autograd.grad(-cross_entropy(means, wanted.to(device), reduction="sum"), pixels)
            lengths = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            pixels = pixels.detach() * (1 - DECAY) + size * gradient / (lengths + SMALLEST_GRADIENT)
            if step % BLUR_EVERY == 0:
                pixels = gaussian_blur(pixels, [BLUR_KERNEL, BLUR_KERNEL], [BLUR_DEVIATION, BLUR_DEVIATION])
    hook.remove()
    shades = (pixels.detach() * normalise.std + normalise.mean).clamp(0, 1) * 255
    images: NDArray[np.uint8] = shades.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return images
