import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serving.refusals import Refusal
from serving.v2.tensors import DTYPES, read_tensor
from tests.serving.v2.bodies import described, outcome

SHAPE = (2, 3)
IMAGES = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
FLOATS = IMAGES.astype(np.float32)
SIZED = {"parameters": {"binary_data_size": 12}}
NOTHING = memoryview(b"")
# An image with no value over 1 but zeros counts as scaled from 0 to 1.
PIXELS = st.just(0) | st.integers(2, 255)


def read(tensor: Any, binary: bytes = b"") -> Any:
    return read_tensor(tensor, memoryview(binary), SHAPE, most=4)


@given(images=arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(2), st.just(3)), elements=PIXELS))
def test_every_way_to_send_images_gives_the_same(images: Any) -> None:
    floats = images.astype(np.float32)
    sent = [
        read(described(images, data=images.tolist())),
        read(described(images, data=images.ravel().tolist())),
        read(described(images, parameters={"binary_data_size": images.nbytes}), images.tobytes()),
        read(described(floats, data=floats.tolist())),
        read(described(floats, data=images.tolist())),
        read(described(floats, parameters={"binary_data_size": floats.nbytes}), floats.astype("<f4").tobytes()),
    ]
    for pixels in sent:
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, images)


def test_colour_images_keep_their_channels() -> None:
    images = np.zeros((1, 4, 5, 3), np.uint8)
    assert read_tensor(described(images, data=images.tolist()), NOTHING, (4, 5, 3), 1).shape == (1, 4, 5, 3)


def test_fractions_are_rounded_to_the_nearest_whole_number() -> None:
    values = np.array([[[0.4, 0.6, 254.7], [0, 1, 2]]], np.float32)
    expected = [[[0, 1, 255], [0, 1, 2]]]
    assert read(described(values, data=values.tolist())).tolist() == expected
    sized = described(values, parameters={"binary_data_size": 24})
    assert read(sized, values.tobytes()).tolist() == expected


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (None, "The input is null; send an object"),
        ({}, "The input null is unknown; the model has one input, 'image'"),
        (described(IMAGES, name="x" * 99), r"'x{40}'\.\.\. is unknown"),
        (described(IMAGES, name=["image"]), "a list of 1 is unknown"),
        (described(IMAGES, datatype="FP64"), "datatype 'FP64' is unknown; send UINT8 or FP32"),
        (described(IMAGES, datatype=[]), "datatype a list of 0"),
        (described(IMAGES, shape=None), r"shape is null; send \[N, 2, 3\]"),
        (described(IMAGES, shape=[2, 3]), r"shape is \[2, 3\]; send \[N, 2, 3\]"),
        (described(IMAGES, shape=[2, 3, 2]), r"shape is \[2, 3, 2\]"),
        (described(IMAGES, shape=[2, 2, 3.0]), r"shape is \[2, 2, 3.0\]"),
        (described(IMAGES, shape=[True, 2, 3]), r"shape is \[True, 2, 3\]"),
        (described(IMAGES, shape=[1] * 999), "shape is a list of 999"),
        (described(IMAGES, shape=[0, 2, 3]), "0 images; send 1 to 4"),
        (described(IMAGES, shape=[-2, 2, 3]), "-2 images"),
        (described(IMAGES, shape=[5, 2, 3]), "5 images"),
        (described(IMAGES, shape=[10**4000, 2, 3]), r"10{39}\.\.\. images"),
        (described(IMAGES), "neither data nor the parameter binary_data_size"),
        (described(IMAGES, data=[0] * 12, **SIZED), "both data and binary_data_size"),
        (described(IMAGES, parameters=[]), "parameters are a list of 0, not an object"),
        (described(IMAGES, parameters={"shared_memory_region": "x"}), "shared memory is not supported"),
        (described(IMAGES, parameters={"binary_data_size": 11}), r"is 11; UINT8 \[2, 2, 3\] takes 12 bytes"),
        (described(IMAGES, parameters={"binary_data_size": -12}), "is -12"),
        (described(IMAGES, parameters={"binary_data_size": 12.0}), "is 12.0"),
        (described(IMAGES, parameters={"binary_data_size": True}), "is true"),
        (described(FLOATS, **SIZED), r"is 12; FP32 \[2, 2, 3\] takes 48 bytes"),
        (described(IMAGES, **SIZED), "0 bytes follow the JSON, not the 12 of 'image'"),
        (described(IMAGES, data=7), "not the 12 values"),
        (described(IMAGES, data=[]), "not the 12 values"),
        (described(IMAGES, data=[0] * 11), "not the 12 values"),
        (described(IMAGES, data=[[0] * 6] * 2), r"not the 12 values of \[2, 2, 3\], flat or nested in that shape"),
        (described(IMAGES, data=[[[0] * 3] * 2, [[0] * 3, [0] * 2]]), "not the 12 values"),
        (described(IMAGES, data=[0] * 11 + [[]]), r"\[1, 1, 2\] is a list of 0"),
        (described(IMAGES, data=[0] * 11 + [256]), r"the value at \[1, 1, 2\] is 256; UINT8 pixels are whole"),
        (described(IMAGES, data=[-1] + [0] * 11), r"\[0, 0, 0\] is -1"),
        (described(IMAGES, data=[0, 1.0] + [0] * 10), r"\[0, 0, 1\] is 1.0"),
        (described(IMAGES, data=[0, True] + [0] * 10), r"\[0, 0, 1\] is true"),
        (described(IMAGES, data=[0, 10**400] + [0] * 10), r"\[0, 0, 1\] is 10{39}\.\.\.;"),
        (described(FLOATS, data=["0"] * 12), r"is '0'; FP32 pixels are numbers from 0 to 255"),
        (described(FLOATS, data=[0.0, math.nan] + [0] * 10), r"\[0, 0, 1\] is NaN"),
        (described(FLOATS, data=[0.0, math.inf] + [0] * 10), r"\[0, 0, 1\] is Infinity"),
        (described(FLOATS, data=[255.0001] * 12), "is 255.0001"),
    ],
)
def test_wrong_tensors_are_refused_with_the_fault(tensor: Any, says: str) -> None:
    with pytest.raises(Refusal, match=says) as refusal:
        read(tensor)
    assert refusal.value.status == 400
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize("length", [0, 1, 11, 13, 24])
def test_binary_data_have_the_tensors_length(length: int) -> None:
    with pytest.raises(Refusal, match=f"{length} bytes follow the JSON, not the 12"):
        read(described(IMAGES, **SIZED), bytes(length))


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_pixels_to_1_are_refused(datatype: str) -> None:
    images = np.array([[[0, 200, 0]] * 2, [[0, 1, 0]] * 2], DTYPES[datatype])
    says = r"image: in image 1 its pixels are on a scale from 0 to 1 \(the largest is 1\)"
    with pytest.raises(Refusal, match=says):
        read(described(images, data=images.tolist()))
    with pytest.raises(Refusal, match=says):
        read(described(images, parameters={"binary_data_size": images.nbytes}), images.tobytes())


def test_stray_binary_data_are_refused() -> None:
    with pytest.raises(Refusal, match="1 bytes follow the JSON, but no input"):
        read(described(IMAGES, data=IMAGES.tolist()), b"x")


@given(values=arrays(np.float32, (1, 2, 3), elements=st.floats(width=32)))
def test_binary_floats_are_read_or_refused(values: Any) -> None:
    tensor = described(values, parameters={"binary_data_size": 24})
    if 0 < values.max() <= 1 and values.min() >= 0:
        with pytest.raises(Refusal, match="in image 0 its pixels are on a scale from 0 to 1"):
            read(tensor, values.tobytes())
    elif np.all((values >= 0) & (values <= 255)):
        np.testing.assert_array_equal(read(tensor, values.tobytes()), np.rint(values))
    else:
        with pytest.raises(Refusal, match="FP32 pixels are numbers from 0 to 255"):
            read(tensor, values.tobytes())


@given(binary=st.binary(min_size=24, max_size=24))
def test_any_bytes_are_floats_or_refused(binary: bytes) -> None:
    tensor = described(np.zeros((1, 2, 3), np.float32), parameters={"binary_data_size": 24})
    pixels = outcome(lambda: read(tensor, binary))
    if isinstance(pixels, Refusal):
        assert pixels.reason == "wrong_value"
    else:
        np.testing.assert_array_equal(pixels, np.rint(np.frombuffer(binary, "<f4").reshape(1, 2, 3)))
