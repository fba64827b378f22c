import pytest
import torch
from torchvision.transforms import Normalize

from clustnet.errors import UserError
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


def test_numbers_are_normalised_as_pixels_are() -> None:
    images = noise(3)
    normalise = Normalise((0.1307,), (0.3081,))
    assert torch.equal(normalise(images.float()), normalise(images))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 30, 27), (3, 4, 4), (3, 7, 5), (1, 6, 61)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_decoder_returns_the_encoders_shape(shape: tuple[int, int, int], batch_norm: bool) -> None:
    torch.manual_seed(1)
    pixels = torch.randn(5, *shape)
    embeddings = Encoder(shape, (4, 8), 16, batch_norm)(pixels)
    assert embeddings.shape == (5, 16)
    assert embeddings.min() >= 0
    decoded = Decoder(shape, (4, 8), 16)(embeddings)
    assert decoded.shape == pixels.shape
    assert decoded[0, 0].unique().numel() > 1


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 30, 27)])
def test_every_decoded_pixel_depends_on_the_embedding(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    decoder = Decoder(shape, (4, 8), 16)
    one, other = decoder(torch.randn(2, 16))
    assert (one != other).all()


@pytest.mark.parametrize("shape", [(1, 3, 28), (3, 28, 2)])
def test_images_too_small_for_the_encoder_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(
        UserError, match=rf"have {shape[1]}x{shape[2]} pixels, but the encoder reads sides of 4 or more"
    ):
        Encoder(shape, (4, 8), 16)
