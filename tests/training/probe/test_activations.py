from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from tests.training.deep import deep_recipe
from tests.training.tiny import noise
from training.engine.seeding import DrawingFrom, generator_of
from training.models.build import build_network
from training.models.config import ConvNetModel
from training.models.spec import ConvNetClustersSpec, DeepClustersSpec
from training.probe.activations import activations, layers_of, pixels, pooled, untrained
from training.runs.run_folder import RunFolder

SPEC = ConvNetClustersSpec(
    coarse_labels=("all",),
    image_shape=(16, 16, 3),
    mean=(0.5,) * 3,
    std=(0.2,) * 3,
    model=ConvNetModel(channels=(4, 6, 8, 8, 8), embedding=5, experts=3, projection=4),
    clusters=(3,),
)


def test_outputs_are_those_behind_the_non_linearity() -> None:
    torch.manual_seed(0)
    model, images = build_network(SPEC).eval(), noise(5, (16, 16, 3))
    layers = layers_of(model, images[0].numpy())
    assert list(layers) == ["conv1", "conv2", "conv3", "conv4", "conv5", "embedding"]
    with torch.no_grad():
        expected = model.encoder.convolutions[:3](model.normalise(images))
        embeddings = model.encoder(model.normalise(images))
    found = activations(model, images.numpy(), layers["conv1"])
    np.testing.assert_allclose(found, expected.flatten(2).numpy(), rtol=1e-5)
    assert found.min() == 0
    np.testing.assert_allclose(
        activations(model, images.numpy(), layers["embedding"])[:, :, 0], embeddings.numpy(), rtol=1e-4, atol=1e-5
    )


def test_maps_are_pooled_to_9600_values() -> None:
    maps = torch.randn(2, 96, 55, 55)
    # As in the papers: 96 channels of 10 x 10.
    assert pooled(maps).shape == (2, 96, 100)
    torch.testing.assert_close(pooled(maps), adaptive_avg_pool2d(maps, 10).flatten(2))
    assert pooled(torch.randn(2, 20_000, 3, 3)).shape == (2, 20_000, 1)


def test_pixels_are_shares_of_white() -> None:
    images = noise(3, (8, 6)).numpy()
    np.testing.assert_allclose(pixels(images)[:, :, 0], images.reshape(3, -1) / 255, rtol=1e-6)


def test_convolutions_of_other_methods_are_found(finished_run: Path) -> None:
    model = RunFolder(finished_run).load_network()
    assert list(layers_of(model, noise(1)[0].numpy())) == ["conv1", "conv2", "embedding"]


def test_a_network_without_convolutions_is_refused() -> None:
    architecture = deep_recipe().model.architecture
    spec = DeepClustersSpec(
        coarse_labels=("all",), image_shape=(28, 28), mean=(0.5,), std=(0.5,), architecture=architecture, clusters=(4,)
    )
    from clustnet.errors import UserError

    with pytest.raises(UserError, match="has no convolution"):
        layers_of(build_network(spec), noise(1)[0].numpy())


def test_untrained_network_is_the_first_one() -> None:
    images = noise(50, (16, 16, 3)).numpy()
    with DrawingFrom(generator_of(7)):
        first = build_network(SPEC)
    found = untrained(SPEC, 7, images)
    for name, part in found.named_parameters():
        torch.testing.assert_close(part, dict(first.named_parameters())[name], rtol=0, atol=0)
    with torch.no_grad():
        outputs = found.encoder.convolutions[:2](found.normalise(torch.from_numpy(images)))
    # Its batch normalisation knows the images.
    torch.testing.assert_close(outputs.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    assert all(layer.momentum == 0.1 for layer in found.modules() if isinstance(layer, nn.BatchNorm2d))
