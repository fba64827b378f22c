import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.models import alexnet, vgg16_bn

from clustnet.errors import UserError
from training.models.config import ConvNetModel
from training.models.convnets import ConvNet, Sobel


@pytest.mark.parametrize(
    ("network", "side", "features"),
    [("alexnet_small", 32, 256), ("alexnet_small", 64, 256), ("alexnet", 63, 4096), ("vgg16", 32, 4096)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_features_have_the_shape(network: str, side: int, features: int, channels: int) -> None:
    # Without memory or numbers, as VGG16 has 138 million weights.
    with torch.device("meta"):
        net = ConvNet(ConvNetModel(network=network), channels)  # type: ignore[arg-type]
        found = net(torch.zeros(2, channels, side, side))
    assert (found.shape, net.features) == ((2, features), features)


def test_layers_are_those_of_torchvision() -> None:
    with torch.device("meta"):
        ours = ConvNet(ConvNetModel(network="vgg16"), 3)
        theirs = vgg16_bn()
    found, expected = ours.convolutions.state_dict(), theirs.features.state_dict()
    assert {key: tuple(part.shape) for key, part in found.items()} == {
        key: tuple(part.shape) for key, part in expected.items()
    }


def test_alexnet_is_normalised_after_each_convolution() -> None:
    with torch.device("meta"):
        kinds = [type(layer).__name__ for layer in ConvNet(ConvNetModel(network="alexnet"), 3).convolutions.children()]
        expected = [type(layer).__name__ for layer in alexnet().features]
    assert [kind for kind in kinds if kind != "BatchNorm2d"] == expected
    assert [kinds[place + 1] for place, kind in enumerate(kinds) if kind == "Conv2d"] == ["BatchNorm2d"] * 5


def test_features_are_not_cut_off_at_zero() -> None:
    torch.manual_seed(0)
    found = ConvNet(ConvNetModel(channels=(4, 4, 4, 4, 4), embedding=8), 3)(torch.randn(16, 3, 32, 32))
    assert found.min() < 0 < found.max()


def test_sobel_is_that_of_scipy() -> None:
    pixels = np.random.default_rng(0).normal(size=(2, 3, 9, 11)).astype(np.float32)
    found = Sobel()(torch.from_numpy(pixels)).numpy()
    for image, (across, down) in zip(pixels.mean(axis=1), found, strict=True):
        np.testing.assert_allclose(np.abs(across), np.abs(ndimage.sobel(image, axis=1, mode="constant")), atol=1e-5)
        np.testing.assert_allclose(np.abs(down), np.abs(ndimage.sobel(image, axis=0, mode="constant")), atol=1e-5)


def test_sobel_is_not_trained() -> None:
    net = ConvNet(ConvNetModel(sobel=True, channels=(4, 4, 4, 4, 4), embedding=8), 3)
    assert not list(net.sobel.parameters())
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 8)


def test_images_that_are_too_small_are_refused() -> None:
    with torch.device("meta"):
        net = ConvNet(ConvNetModel(network="alexnet"), 3)
    with pytest.raises(UserError, match=r"sides of 32 pixels, but the network alexnet reads sides of 63 or more"):
        net(torch.zeros(1, 3, 32, 32, device="meta"))
