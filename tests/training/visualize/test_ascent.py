import io

import numpy as np
import torch
from PIL import Image
from scipy.special import softmax

from tests.training.probe.test_activations import SPEC
from training.models.build import build_network
from training.probe.activations import activations, layers_of
from training.visualize.ascent import ascend
from training.visualize.tiles import highest, tiled


def test_ascent_raises_its_own_filter() -> None:
    torch.manual_seed(0)
    model = build_network(SPEC).eval()
    layer = layers_of(model, np.zeros((16, 16, 3), np.uint8))["conv1"]
    found = ascend(model, layer, [0, 1, 2, 3], 1, (3, 16, 16), seed=0)
    assert (found.shape, found.dtype) == ((4, 16, 16, 3), np.uint8)
    grey = np.full((1, 16, 16, 3), 128, np.uint8)
    before, after = (softmax(activations(model, images, layer).mean(axis=2), axis=1) for images in (grey, found))
    assert (np.diag(after) > before[0]).all()
    # Of all four images its own has the most of it.
    assert (after.argmax(axis=0) == np.arange(4)).all()


def test_ascent_keeps_the_network() -> None:
    torch.manual_seed(0)
    model = build_network(SPEC).eval()
    before = {name: part.clone() for name, part in model.state_dict().items()}
    layer = layers_of(model, np.zeros((16, 16, 3), np.uint8))["conv2"]
    first, second = (ascend(model, layer, [1], 2, (3, 16, 16), seed=3) for _ in range(2))
    assert np.array_equal(first, second)
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())
    assert all(part.grad is None for part in model.parameters())


def test_images_are_enlarged_side_by_side() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((32, 32), np.uint8)
    with Image.open(io.BytesIO(tiled(images, 3))) as picture:
        found = np.asarray(picture)
    assert found.shape == (130, 196, 3)
    assert [found[32, 32, 0], found[32, 98, 0], found[98, 98, 0]] == [0, 1, 4]
    assert (found[98, 164] == 255).all()


def test_the_highest_come_first() -> None:
    assert highest(np.array([1.0, 5.0, 3.0]), 2) == [1, 2]
