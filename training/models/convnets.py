"""Well-known convolutional networks with batch normalisation: AlexNet, VGG16, and a small AlexNet for small images.

Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS 2012;
Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556. The layers
are torchvision's. Dropout is left out, as batch normalisation takes its place (Ioffe, Szegedy, arXiv:1502.03167).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torchvision.models import alexnet, vgg16_bn

from clustnet.errors import UserError
from training.models.batch_norm import BatchNorm1d, BatchNorm2d
from training.models.config import ConvNetModel

# Smallest side in pixels; with a smaller one nothing would be left after the last pooling.
SMALLEST_SIDES = {"alexnet_small": 8, "alexnet": 63, "vgg16": 32}
# Channels, kernel, stride and padding of torchvision's first convolutions, made anew for the images' channels.
FIRST_LAYERS = {"alexnet": (64, 11, 4, 2), "vgg16": (64, 3, 1, 1)}
# Pixels of a side after the last pooling of alexnet_small, whatever the image's size.
SMALL_POOL = 2


class Sobel(nn.Module):
    """Fixed filters: images float32 [N, C, H, W] -> horizontal and vertical gradients in grey, float32 [N, 2, H, W].

    Colour is what a network would cluster by first (Caron et al., arXiv:1807.05520, section 4).
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        self.register_buffer("filters", torch.stack([across, across.T])[:, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return both gradients; the border counts as 0."""
        return conv2d(pixels.mean(dim=1, keepdim=True), self.filters, padding=1)


class ConvNet(nn.Module):
    """Normalised images float32 [N, C, H, W] -> features float32 [N, D] before the last ReLU.

    Args:
        model: the network's part of the recipe.
        channels: C, the channels of the images.
    """

    def __init__(self, model: ConvNetModel, channels: int) -> None:
        super().__init__()
        self.smallest_side, self.name = SMALLEST_SIDES[model.network], model.network
        self.sobel = Sobel() if model.sobel else nn.Identity()
        inputs = 2 if model.sobel else channels
        self.convolutions, self.pool, self.top = (
            _alexnet_small(model, inputs) if model.network == "alexnet_small" else _torchvision(model.network, inputs)
        )

    @property
    def features(self) -> int:
        """D, the number of features."""
        return next(layer.out_features for layer in reversed(self.top) if isinstance(layer, nn.Linear))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features.

        Raises:
            UserError: the images are too small for the network.
        """
        side = min(pixels.shape[2:])
        if side < self.smallest_side:
            raise UserError(
                f"The images have sides of {side} pixels, but the network {self.name} reads sides of "
                f"{self.smallest_side} or more; set model.network to alexnet_small, or give larger images."
            )
        features: Tensor = self.top(self.pool(self.convolutions(self.sobel(pixels))).flatten(1))
        return features


def _alexnet_small(model: ConvNetModel, inputs: int) -> tuple[nn.Module, nn.Module, nn.Sequential]:
    """Return five 3x3 convolutions, of which the first two halve the image, a pooling and one linear layer."""
    layers: list[nn.Module] = []
    for number, channels in enumerate(model.channels):
        layers += [nn.Conv2d(inputs, channels, 3, padding=1, bias=False), BatchNorm2d(channels), nn.ReLU()]
        if number < 2:
            layers.append(nn.MaxPool2d(2))
        inputs = channels
    top = [nn.Linear(inputs * SMALL_POOL**2, model.embedding, bias=False), BatchNorm1d(model.embedding)]
    return nn.Sequential(*layers), nn.AdaptiveAvgPool2d(SMALL_POOL), nn.Sequential(*top)


def _torchvision(name: str, inputs: int) -> tuple[nn.Module, nn.Module, nn.Sequential]:
    """Return the convolutions, the pooling and the layers up to the second linear one of a torchvision network."""
    network = alexnet() if name == "alexnet" else vgg16_bn()
    layers = [layer for part in network.features for layer in _normalised(part, normalises=name == "alexnet")]
    layers[0] = nn.Conv2d(inputs, *FIRST_LAYERS[name])
    top = [layer for layer in network.classifier if not isinstance(layer, nn.Dropout)]
    # The linear layer, ReLU, the linear layer; what follows is the classifier.
    return nn.Sequential(*layers), network.avgpool, nn.Sequential(*top[:3])


def _normalised(layer: nn.Module, normalises: bool) -> list[nn.Module]:
    """Return a layer with batch normalisation across processes, in place of torch's or after a convolution."""
    if isinstance(layer, nn.BatchNorm2d):
        return [BatchNorm2d(layer.num_features)]
    if isinstance(layer, nn.Conv2d) and normalises:
        return [layer, BatchNorm2d(layer.out_channels)]
    return [layer]
