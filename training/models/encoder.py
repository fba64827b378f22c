"""The gate's convolutional encoder and the decoder that pre-trains it.

Their layers are fixed and read images of any size; networks whose layers are described are in
``training.models.autoencoder``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clustnet.errors import UserError
from training.models.batch_norm import BatchNorm1d, BatchNorm2d

# Pixels of a side, as the encoder halves it twice.
SMALLEST_SIDE = 4


class Normalise(nn.Module):
    """Turns raw images into normalised channels-first floats, so that graphs read raw images.

    Args:
        mean: mean of each channel, for pixels scaled to 0..1.
        std: standard deviation of each channel, likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised images float32 [N, C, H, W].

        Args:
            images: [N, H, W] or [N, H, W, C] from 0 to 255, uint8, or floats for rows of numbers scaled to this range.
        """
        pixels = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
        return (pixels.float() / 255 - self.mean) / self.std


class Encoder(nn.Module):
    """Two convolutions, each halving the image, and a linear layer.

    Args:
        shape: (C, H, W) of the normalised images.
        channels: channels of the two convolutions.
        embedding: D, width of the output.
        batch_norm: whether each layer is batch-normalised (Ioffe, Szegedy, arXiv:1502.03167).

    Raises:
        UserError: a side of the images is under 4 pixels.
    """

    def __init__(
        self, shape: tuple[int, int, int], channels: tuple[int, int], embedding: int, batch_norm: bool = False
    ) -> None:
        super().__init__()
        height, width = shape[1:]
        if min(height, width) < SMALLEST_SIDE:
            raise UserError(
                f"The images have {height}x{width} pixels, but the encoder reads sides of {SMALLEST_SIDE} or more; "
                "give larger images, or a larger data.size."
            )
        first, second = channels
        # Pooling comes before the rest, which then has a quarter of the work.
        layers = [
            nn.Conv2d(shape[0], first, 5, padding=2),
            nn.MaxPool2d(2),
            BatchNorm2d(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 5, padding=2),
            nn.MaxPool2d(2),
            BatchNorm2d(second),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(second * (height // 4) * (width // 4), embedding),
            BatchNorm1d(embedding),
            nn.ReLU(),
        ]
        normalisations = (BatchNorm1d, BatchNorm2d)
        self.layers = nn.Sequential(*(layer for layer in layers if batch_norm or not isinstance(layer, normalisations)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embeddings of images float32 [N, C, H, W], float32 [N, D], 0 or more."""
        embeddings: Tensor = self.layers(pixels)
        return embeddings


class Decoder(nn.Module):
    """A linear layer and two transposed convolutions back to the image.

    Args:
        shape: (C, H, W) of the normalised images, sides of 4 or more.
        channels: the encoder's channels.
        embedding: D, width of its output.
    """

    def __init__(self, shape: tuple[int, int, int], channels: tuple[int, int], embedding: int) -> None:
        super().__init__()
        first, second = channels
        height, width = shape[1:]
        # A side that the encoder halves with a remainder of one pixel is doubled by a kernel that is one pixel longer.
        inner = (2 + height // 2 % 2, 2 + width // 2 % 2)
        outer = (2 + height % 2, 2 + width % 2)
        self.layers = nn.Sequential(
            nn.Linear(embedding, second * (height // 4) * (width // 4)),
            nn.ReLU(),
            nn.Unflatten(1, (second, height // 4, width // 4)),
            nn.ConvTranspose2d(second, first, inner, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(first, shape[0], outer, stride=2),
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the normalised images, float32 [N, C, H, W], of embeddings float32 [N, D]."""
        pixels: Tensor = self.layers(embeddings)
        return pixels
