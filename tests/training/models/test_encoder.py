import pytest
import torch
from torchvision.transforms import Normalize

from tests.training.tiny import noise
from training.models.encoder import Decoder, Encoder, Normalise

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def test_normalisation_of_grey_images_is_torchvisions() -> None:
    images = noise(3)
    plain = Normalize((0.1307,), (0.3081,))(images.unsqueeze(1).float() / 255)
    torch.testing.assert_close(Normalise((0.1307,), (0.3081,))(images), plain)


def test_normalisation_of_colour_images_is_torchvisions_channels_first() -> None:
    images = noise(3, (32, 32, 3))
    plain = Normalize(MEAN, STD)(images.permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(Normalise(MEAN, STD)(images), plain)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_the_decoder_gives_back_the_encoders_shape(shape: tuple[int, int, int]) -> None:
    pixels = torch.randn(5, *shape)
    embeddings = Encoder(shape, (4, 8), 16)(pixels)
    assert embeddings.shape == (5, 16)
    assert embeddings.min() >= 0
    assert Decoder(shape, (4, 8), 16)(embeddings).shape == pixels.shape
