import numpy as np
import pytest

from clustnet.bundles.pixels import check_scale, scale_fault
from clustnet.errors import UserError


@pytest.mark.parametrize("image", [[0, 0], [0, 255], [0, 2], [0.5, 254.5], [0.0, 1.5]])
def test_pixels_to_255_are_right(image: list[float]) -> None:
    assert scale_fault(np.array(image)) is None
    check_scale(np.array([image, image]))


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        ([0, 1], r"on a scale from 0 to 1 \(the largest is 1\), but 0 to 255 are expected; multiply them by 255"),
        ([0.0, 0.25], r"on a scale from 0 to 1 \(the largest is 0.25\)"),
        ([-0.42, 2.8], "on a scale from -0.42 to 2.8, as if standardised, but 0 to 255 are expected"),
        ([-1.0, 1.0], "on a scale from -1 to 1, as if standardised"),
        ([0, 256], "on a scale from 0 to 256, but 0 to 255 are expected; scale them down"),
        ([0, float("nan")], "values that are no numbers; send values from 0 to 255"),
        ([0, float("inf")], "values that are no numbers"),
    ],
)
def test_another_scale_is_named(image: list[float], fault: str) -> None:
    with pytest.raises(UserError, match=rf"^Image 1: its pixels .*{fault}.*\.$"):
        check_scale(np.array([[0, 200], image]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool])
def test_binary_images_are_refused(dtype: type) -> None:
    with pytest.raises(UserError, match="Image 0: its pixels are on a scale from 0 to 1"):
        check_scale(np.eye(28, dtype=dtype)[None])


def test_no_images_are_right() -> None:
    check_scale(np.zeros((0, 28, 28), np.uint8))
