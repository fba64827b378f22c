import numpy as np
import pytest

from clustnet.bundles.pixels import unit_scale_fault


@pytest.mark.parametrize("image", [[0, 0], [0, 255], [0, 2], [0.5, 254.5], [0.0, 1.5]])
def test_pixels_to_255_are_right(image: list[float]) -> None:
    assert unit_scale_fault(np.array([image, image])) is None


@pytest.mark.parametrize(("largest", "dtype"), [(1, np.uint8), (1, np.float64), (0.25, np.float32)])
def test_pixels_to_1_are_named(largest: float, dtype: type) -> None:
    assert unit_scale_fault(np.array([[0, 200], [0, largest], [0, 1]], dtype)) == (
        1,
        f"its pixels are on a scale from 0 to 1 (the largest is {largest:g}), but 0 to 255 are expected; "
        "multiply them by 255.",
    )
