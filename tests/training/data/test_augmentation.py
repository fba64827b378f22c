import pytest
import torch
from torchvision.transforms.v2.functional import InterpolationMode, affine

from tests.training.tiny import noise
from training.data import augmentation
from training.data.augmentation import View, moved, random_motions, random_view, viewed
from training.models.encoder import Normalise
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
    monkeypatch.setattr(augmentation, "_uniform", lambda _, *shape: torch.ones(*shape))
    inside = torch.nn.functional.pad(SMOOTH[:, :, 6:14, 6:14], (6, 6, 6, 6))  # nothing is turned out of the frame
    expected = affine(inside, -20.0, [0, 0], 1.0, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(random_views(inside, Augmentation(rotation=20)), expected, atol=1e-4, rtol=1e-4)


def test_a_shift_moves_by_half_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "_uniform", lambda _, *shape: torch.ones(*shape))
    right = random_views(SMOOTH, Augmentation(shift=0.2))  # 0.2 of 10 pixels
    torch.testing.assert_close(right[:, :, :-2, :-2], SMOOTH[:, :, 2:, 2:], atol=1e-5, rtol=1e-5)


def test_nothing_to_change_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    view = random_view(4, Augmentation())
    assert view == View(None, None)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("keys", [{"rotation": 20}, {"crop": 0.5, "flip": 0.5}, {"shift": 0.1, "hue": 0.2, "blur": 2}])
@pytest.mark.parametrize("shape", [(10, 16, 12), (10, 16, 12, 3)])
def test_a_view_does_not_depend_on_shares(keys: dict[str, float], shape: tuple[int, ...]) -> None:
    images, normalise = noise(10, shape[1:]), Normalise((0.5,), (0.25,))
    view = random_view(10, Augmentation.model_validate(keys))
    whole = viewed(normalise, images, view)
    for place in (slice(0, 4), slice(4, 10), slice(3, 3)):
        share = viewed(normalise, images[place], view.map(lambda rows, place=place: rows[place]))
        torch.testing.assert_close(share, whole[place])


def test_drawings_keep_their_random_numbers() -> None:
    """Keys of photographs that are off change nothing for those of drawings."""
    torch.manual_seed(0)
    motions = random_motions(5, Augmentation(rotation=10, elastic=0.1))
    torch.manual_seed(0)
    view = random_view(5, Augmentation(rotation=10, elastic=0.1))
    assert view.photographs is None
    assert motions is not None and view.motions is not None  # noqa: PT018
    assert all(map(torch.equal, motions, view.motions))
