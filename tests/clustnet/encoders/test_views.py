import numpy as np
import pytest
from PIL import Image

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.preparation import prepare_image
from clustnet.encoders.views import view_of

SPEC = InputSpec(shape=(16, 16, 3), meaning="RGB, 0 to 255", preparation="fit")
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


def test_view_0_is_the_image_itself() -> None:
    np.testing.assert_array_equal(view_of(IMAGE, SPEC, 0, b"a"), prepare_image(IMAGE, SPEC))


def test_views_are_settled_by_number_and_content() -> None:
    views = [view_of(IMAGE, SPEC, number, digest).tobytes() for number in (1, 2) for digest in (b"a", b"b")]
    assert len(set(views)) == 4
    assert view_of(IMAGE, SPEC, 1, b"a").tobytes() == views[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 5)])
def test_thin_images_have_views(size: tuple[int, int]) -> None:
    assert view_of(Image.new("RGB", size), SPEC, 1, b"a").shape == (16, 16, 3)


def test_views_are_not_mirrored() -> None:
    """Of an image that is dark on the left and bright on the right every view is so, too."""
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 4, np.uint8), (64, 1))).convert("RGB")
    for number in range(1, 20):
        view = view_of(ramp, SPEC, number, b"a").astype(int)
        assert view[:, 0].mean() < view[:, -1].mean()
