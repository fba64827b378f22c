import pytest
import torch
from torchvision.transforms.v2.functional import InterpolationMode, affine

from training.data import augmentation
from training.data.augmentation import moved, random_motions
from training.recipe.recipe import Augmentation

SMOOTH = torch.nn.functional.avg_pool2d(torch.rand(3, 2, 20, 20), 5, stride=1, padding=2)


def random_views(pixels: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    return moved(pixels, random_motions(len(pixels), augmentation))


def test_without_any_change_a_view_is_its_image() -> None:
    torch.testing.assert_close(random_views(SMOOTH, Augmentation()), SMOOTH, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("key", ["rotation", "scale", "shear", "shift", "elastic"])
def test_each_key_changes_the_image(key: str) -> None:
    views = random_views(SMOOTH, Augmentation.model_validate({key: 20 if key == "rotation" else 0.2}))
    assert views.shape == SMOOTH.shape
    assert views.isfinite().all()
    assert (views - SMOOTH).abs().mean() > 1e-3


def test_two_views_of_an_image_differ() -> None:
    first, second = (random_views(SMOOTH, Augmentation(rotation=20)) for _ in range(2))
    assert not torch.equal(first, second)


def test_a_rotation_is_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "_uniform", lambda *shape: torch.ones(*shape))
    inside = torch.nn.functional.pad(SMOOTH[:, :, 6:14, 6:14], (6, 6, 6, 6))  # nothing is turned out of the frame
    expected = affine(inside, -20.0, [0, 0], 1.0, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(random_views(inside, Augmentation(rotation=20)), expected, atol=1e-4, rtol=1e-4)


def test_a_shift_moves_by_half_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "_uniform", lambda *shape: torch.ones(*shape))
    right = random_views(SMOOTH, Augmentation(shift=0.2))  # 0.2 of 10 pixels
    torch.testing.assert_close(right[:, :, :-2, :-2], SMOOTH[:, :, 2:, 2:], atol=1e-5, rtol=1e-5)
