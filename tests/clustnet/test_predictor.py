import numpy as np
import pytest

from clustnet.errors import UserError
from clustnet.predictor import CPU, Predictor, providers_for

SHAPES = {
    "positive_probability": (),
    "routing": (5,),
    "expert_probability": (5,),
    "class_probability": (10,),
    "confidence": (),
}


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_outputs_have_the_shapes_of_the_bundle(predictor: Predictor, count: int) -> None:
    found = predictor.predict(images(count), batch_size=4)
    for name, shape in SHAPES.items():
        output = getattr(found, name)
        assert (output.shape, output.dtype) == ((count, *shape), np.float32)


def test_batches_join_in_order(predictor: Predictor) -> None:
    whole, parts = predictor.predict(images(10)), predictor.predict(images(10), batch_size=3)
    np.testing.assert_allclose(parts.routing, whole.routing, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((2, 28, 27), np.uint8), r"uint8 images of \[28, 28\], but got uint8 images of \[28, 27\]"),
        (np.zeros((2, 784), np.uint8), r"but got uint8 images of \[784\]"),
        (np.zeros((28, 28), np.uint8), r"but got uint8 images of \[28\]"),
        (np.zeros((2, 28, 28), np.float32), r"but got float32 images of \[28, 28\]"),
    ],
)
def test_images_of_another_kind_are_refused(predictor: Predictor, wrong: np.ndarray, said: str) -> None:
    with pytest.raises(UserError, match=said):
        predictor.predict(wrong)


def test_the_provider_is_told(predictor: Predictor) -> None:
    assert predictor.provider == CPU
    assert providers_for("cpu") == [CPU]
    assert providers_for("cuda")[-1] == CPU  # to fall back on, which the provider then tells
