"""Networks built from described architectures: the encoder, and the decoder that mirrors it.

The gate's own encoder, ``training.models.encoder``, is not one of them: it pools before it normalises, and its decoder
doubles sides by strides, which the format of architectures does not have.
"""

import math

from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from training.models.architecture import Architecture, Step
from training.models.batch_norm import BatchNorm2d

NON_LINEARITIES = {
    "linear": nn.Identity,
    "rectify": nn.ReLU,
    "leaky_rectify": nn.LeakyReLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


class StepLayer(nn.Module):
    """One step: float32 [N, *before] -> [N, *after].

    Args:
        step: what the layer does.
    """

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step
        # Batch normalisation has a bias of its own.
        bias = not step.batch_norm
        if step.kind == "dense":
            self.weights: nn.Module = nn.Linear(math.prod(step.before), math.prod(step.after))
        elif step.kind == "convolve":
            sizes = (step.before[0], step.after[0], step.filter_size)
            self.weights = nn.Conv2d(*sizes, padding=step.padding, bias=bias)
        elif step.kind == "deconvolve":
            sizes = (step.before[0], step.after[0], step.filter_size)
            self.weights = nn.ConvTranspose2d(*sizes, padding=step.padding, bias=bias)
        self.normalised = BatchNorm2d(step.after[0]) if step.batch_norm else nn.Identity()
        self.non_linearity = NON_LINEARITIES[step.non_linearity]()

    def forward(self, values: Tensor) -> Tensor:
        """Return the step's output; pooling forgets where the maxima were."""
        if self.step.kind == "pool":
            return max_pool2d(values, self.step.filter_size)
        if self.step.kind == "replicate":
            factors = tuple(float(side) for side in self.step.filter_size)
            return interpolate(values, scale_factor=list(factors), mode="nearest")
        if self.step.kind == "reshape":
            return values.reshape(-1, *self.step.after)
        if self.step.kind == "dense":
            values = self.weights(values.flatten(1)).view(-1, *self.step.after)
        else:
            values = self.weights(values)
        activated: Tensor = self.non_linearity(self.normalised(values))
        return activated


class Encoder(nn.Module):
    """The described layers: images float32 [N, C, H, W] -> embeddings float32 [N, D].

    Args:
        architecture: the description.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.image_shape = architecture.image_shape
        self.steps = architecture.encoder()
        self.layers = nn.ModuleList(map(StepLayer, self.steps))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embeddings."""
        values = pixels.reshape(-1, *self.image_shape)
        for layer in self.layers:
            values = layer(values)
        return values.flatten(1)

    def with_places(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the embeddings and, for each pooling layer, the places of its maxima, int64 in the output's shape."""
        values, places = pixels.reshape(-1, *self.image_shape), []
        for step, layer in zip(self.steps, self.layers, strict=True):
            if step.kind == "pool":
                values, found = max_pool2d(values, step.filter_size, return_indices=True)
                places.append(found)
            else:
                values = layer(values)
        return values.flatten(1), places


class Decoder(nn.Module):
    """The mirrored layers: embeddings float32 [N, D] -> images float32 [N, C, H, W].

    Args:
        architecture: the description.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.steps = architecture.decoder()
        self.layers = nn.ModuleList(map(StepLayer, self.steps))

    def forward(self, embeddings: Tensor, places: list[Tensor]) -> Tensor:
        """Return rebuilt images.

        Args:
            embeddings: float32 [N, D].
            places: places of the maxima that the encoder kept, one tensor for each of its pooling layers.
        """
        values, left = embeddings.view(-1, *self.steps[0].before), list(places)
        for step, layer in zip(self.steps, self.layers, strict=True):
            if step.kind in ("unpool", "replicate"):
                place = left.pop()
            values = unpool(values, place, step.after) if step.kind == "unpool" else layer(values)
        return values


def unpool(values: Tensor, places: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return values put back to the places of the maxima, among zeros; ``max_unpool2d`` is not deterministic.

    Args:
        values: float32 [N, C, h, w].
        places: place of each value within its image, int64 [N, C, h, w].
        shape: (C, H, W) of the images.
    """
    zeros = values.new_zeros(len(values), shape[0], shape[1] * shape[2])
    return zeros.scatter(2, places.flatten(2), values.flatten(2)).view(-1, *shape)
