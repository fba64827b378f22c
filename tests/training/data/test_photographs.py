import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from tests.training.tiny import noise
from training.data.photographs import (
    KEYS,
    Photographs,
    blurred,
    brightened,
    contrasted,
    cropped,
    flipped,
    hue_turned,
    photographed,
    random_photographs,
    saturated,
)
from training.recipe.recipe import Augmentation

FACTORS = torch.tensor([0.0, 0.4, 1.0, 1.7])
COLOURS = {
    brightened: torchvision.adjust_brightness,
    contrasted: torchvision.adjust_contrast,
    saturated: torchvision.adjust_saturation,
}
SHAPES = [(16, 20), (16, 20, 3)]


def pixels(channels: int, images: int = 4) -> Tensor:
    return torch.rand(images, channels, 12, 14, generator=torch.Generator().manual_seed(0))


def drawn(images: int, **keys: float) -> Photographs:
    found = random_photographs(images, Augmentation.model_validate(keys))
    assert found is not None
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", COLOURS)
def test_colours_change_as_in_torchvision(change: object, channels: int) -> None:
    images = pixels(channels)
    found = change(images, FACTORS)  # type: ignore[operator]
    for image, factor, expected in zip(images, FACTORS.tolist(), found, strict=True):
        torch.testing.assert_close(COLOURS[change](image, factor), expected, atol=1e-5, rtol=1e-5)  # type: ignore[index]


def test_hue_is_torchvisions() -> None:
    images, turns = pixels(3), torch.tensor([-0.5, -0.2, 0.1, 0.45])
    images[0, :, :3] = 0.3
    for image, turn, found in zip(images, turns.tolist(), hue_turned(images, turns), strict=True):
        torch.testing.assert_close(found, torchvision.adjust_hue(image, turn), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change", [saturated, hue_turned])
def test_grey_images_have_no_colour_to_change(change: object) -> None:
    images = pixels(1)
    assert torch.equal(change(images, FACTORS / 4), images)  # type: ignore[operator]


def test_a_blur_is_torchvisions_inside_the_image() -> None:
    images, deviations = torch.rand(3, 3, 40, 44), torch.tensor([0.5, 1.0, 2.0])
    inside = (slice(None), slice(12, -12), slice(12, -12))
    for image, deviation, found in zip(images, deviations.tolist(), blurred(images, deviations), strict=True):
        expected = torchvision.gaussian_blur(image, [25, 25], [deviation, deviation])
        torch.testing.assert_close(found[inside], expected[inside], atol=1e-5, rtol=1e-4)
    flat = torch.full((3, 1, 5, 7), 0.4)
    torch.testing.assert_close(blurred(flat, deviations), flat)


def test_a_flip_mirrors_the_named_images() -> None:
    images, mirrored = pixels(3), torch.tensor([True, False, False, True])
    found = flipped(images, mirrored)
    assert torch.equal(found[mirrored], torchvision.horizontal_flip(images[mirrored]))
    assert torch.equal(found[~mirrored], images[~mirrored])


def test_a_crop_is_torchvisions() -> None:
    """A crop of 6 rows and 10 columns from row 2 and column 8 of 16 x 20 pixels."""
    images = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 20, 24), 5, stride=1)
    box = torch.tensor([[10 / 20, 6 / 16, (8 + 5) / 10 - 1, (2 + 3) / 8 - 1]])
    expected = torchvision.resized_crop(images, 2, 8, 6, 10, [16, 20], antialias=False)
    found = cropped(images, box)
    # torchvision repeats the border of the crop, where we see beyond it.
    torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5, rtol=1e-5)


def test_crops_lie_inside_with_their_smallest_area() -> None:
    boxes = drawn(2000, crop=0.6).boxes.double()
    width, height, across, down = boxes.unbind(dim=1)
    area, stretch = width * height, width / height
    assert 0.4 - 1e-6 <= area.min() < 0.45
    assert 0.95 < area.max() <= 1 + 1e-6
    assert 3 / 4 - 1e-6 <= stretch.min() < 0.8 < 1.25 < stretch.max() <= 4 / 3 + 1e-6
    for side, place in ((width, across), (height, down)):
        assert (place.abs() + side).max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("key", "limits"),
    [("brightness", (0.6, 1.4)), ("contrast", (0.6, 1.4)), ("saturation", (0.6, 1.4)), ("hue", (-0.4, 0.4)),
     ("blur", (0.0, 0.4)), ("mirrored", (0, 1))],
)  # fmt: skip
def test_numbers_fill_their_range(key: str, limits: tuple[float, float]) -> None:
    numbers = getattr(drawn(5000, **{"flip" if key == "mirrored" else key: 0.4}), key).float()
    assert limits[0] - 1e-6 <= numbers.min() <= limits[0] + 0.01
    assert limits[1] - 0.01 <= numbers.max() <= limits[1] + 1e-6
    middle = 0.4 if key == "mirrored" else sum(limits) / 2
    assert numbers.mean() == pytest.approx(middle, abs=0.03)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("key", KEYS)
def test_each_key_changes_images(key: str, shape: tuple[int, ...]) -> None:
    images = noise(20, shape)
    views = photographed(images, drawn(20, **{key: 0.5}))
    assert (views.shape, views.dtype) == (images.shape, torch.float32)
    assert views.min() >= 0
    assert views.max() <= 255 + 1e-3
    of_colour = key in ("saturation", "hue") and len(shape) == 2
    assert torch.allclose(views, images.float(), atol=1e-3) == of_colour


@pytest.mark.parametrize("shape", SHAPES)
def test_off_keys_leave_images_exactly(shape: tuple[int, ...]) -> None:
    images = noise(6, shape)
    assert random_photographs(6, Augmentation(rotation=20)) is None
    assert photographed(images, None) is images
    torch.manual_seed(0)
    unchanged = drawn(6, flip=1e-12)
    torch.testing.assert_close(photographed(images, unchanged), images.float(), atol=1e-4, rtol=0)


def test_the_generator_decides_the_views() -> None:
    keys = dict.fromkeys(KEYS, 0.3)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(photographed(noise(5, (16, 20, 3)), drawn(5, **keys)))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
