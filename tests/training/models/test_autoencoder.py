from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn.functional import interpolate, max_pool2d, max_unpool2d

from tests.training.models.test_architecture import DENSE, architectures, conv, described
from training.models.architecture import Architecture, parse_architecture, read_architecture
from training.models.autoencoder import Decoder, Encoder, unpool


class Autoencoder(nn.Module):
    """Encoder and decoder of one architecture, as the method trains them."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(architecture), Decoder(architecture)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embeddings, places = self.encoder.with_places(pixels)
        return embeddings, self.decoder(embeddings, places)


def built(*layers: dict[str, Any], **fields: Any) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(parse_architecture(described(*layers, **fields), "here"))


@settings(max_examples=40, deadline=None)
@given(architectures())
def test_rebuilt_images_have_the_shape_of_the_images(content: dict[str, Any]) -> None:
    described = parse_architecture(content, "here")
    pixels = torch.rand(3, *described.image_shape)
    network = Autoencoder(described)
    embeddings, rebuilt = network(pixels)
    assert embeddings.shape == (3, described.embedding)
    assert rebuilt.shape == pixels.shape
    network.eval()
    assert torch.equal(network.encoder(pixels), network.encoder.with_places(pixels)[0])


@settings(max_examples=40, deadline=None)
@given(architectures())
def test_every_layer_has_the_described_shape(content: dict[str, Any]) -> None:
    network = Autoencoder(parse_architecture(content, "here")).eval()
    for layer in (*network.encoder.layers, *network.decoder.layers):
        if layer.step.kind != "unpool":
            assert layer(torch.rand(2, *layer.step.before)).shape == (2, *layer.step.after)


def test_the_formats_example_computes_what_plain_torch_does() -> None:
    network = Autoencoder(read_architecture("configs/architectures/mnist.json:1")).train()
    weights = [layer.weights for layer in (*network.encoder.layers, *network.decoder.layers) if layer.step.trained]
    first, second, third, fourth, fifth, sixth = weights
    assert [type(part) for part in weights] == [nn.Conv2d] * 3 + [nn.ConvTranspose2d] * 3
    assert [part.bias is None for part in weights] == [True] * 5 + [False]  # batch normalisation brings its own

    def bn(values: torch.Tensor) -> torch.Tensor:
        mean, variance = values.mean((0, 2, 3), keepdim=True), values.var((0, 2, 3), keepdim=True, unbiased=False)
        return (values - mean) / (variance + 1e-5).sqrt()

    def twice(values: torch.Tensor) -> torch.Tensor:
        return interpolate(values, scale_factor=2, mode="nearest")

    pixels = torch.rand(4, 1, 28, 28)
    hidden = max_pool2d(bn(first(pixels)).relu(), 2)
    embedding = bn(third(max_pool2d(bn(second(hidden)).relu(), 2)))
    hidden = twice(bn(fourth(embedding)).relu())
    rebuilt = sixth(twice(bn(fifth(hidden)).relu())).relu()
    found = network(pixels)
    assert embedding.shape == (4, 120, 1, 1)
    torch.testing.assert_close(found[0], embedding.flatten(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1], rebuilt, atol=1e-4, rtol=1e-4)


def test_the_starred_pool_replicates_the_other_unpools() -> None:
    pixels = torch.tensor([[1.0, 2.0, 0.0, 0.0], [4.0, 3.0, 0.0, 7.0]]).repeat(4, 2).view(1, 1, 8, 8)
    for kind, wanted in (
        ("MaxPool2D*", [[4.0, 4.0, 7.0, 7.0], [4.0, 4.0, 7.0, 7.0]]),
        ("MaxPool2D", [[0.0, 0.0, 0.0, 0.0], [4.0, 0.0, 0.0, 7.0]]),
    ):
        network = built({"type": kind, "filter_size": [2, 2]}, {"type": "Reshape", "output_shape": [1, 1, 16]}, DENSE)
        embeddings, places = network.encoder.with_places(pixels)
        pooled = max_pool2d(pixels, 2)
        values = network.decoder.layers[-2](pooled.reshape(1, 1, 1, 16))
        assert torch.equal(values, pooled)
        network.decoder.layers, network.decoder.steps = network.decoder.layers[-1:], network.decoder.steps[-1:]
        rebuilt = network.decoder(pooled, places)
        assert rebuilt.view(8, 8)[:2, :4].tolist() == wanted
        assert embeddings.shape == (1, 4)


@pytest.mark.parametrize("kind", ["convolve", "dense"])
def test_gradients_reach_every_weight(kind: str) -> None:
    network = built(conv(), DENSE) if kind == "convolve" else built(DENSE)
    _, rebuilt = network(torch.rand(4, 1, 8, 8))
    rebuilt.square().mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_a_flat_input_takes_as_many_numbers() -> None:
    flat = {"name": "flat", "batch_size": 8, "layers": [{"type": "Input", "output_shape": [1, 1, 64]}, DENSE]}
    embeddings, rebuilt = Autoencoder(Architecture.model_validate(flat))(torch.rand(2, 1, 1, 64))
    assert embeddings.shape == (2, 4)
    assert rebuilt.shape == (2, 1, 1, 64)


@pytest.mark.filterwarnings("ignore:max_unpooling2d")
def test_unpooling_is_torchs_own() -> None:
    pooled, places = max_pool2d(torch.rand(2, 3, 6, 8), (3, 2), return_indices=True)
    assert torch.equal(unpool(pooled, places, (3, 6, 8)), max_unpool2d(pooled, places, (3, 2)))
