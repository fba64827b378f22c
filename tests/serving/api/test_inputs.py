import codecs
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.inputs import images_from, quote, read_images
from serving.refusals import Refusal

SHAPE = (28, 28)
PAPER: Any = [[0] * 28 for _ in range(28)]


def body(*images: Any) -> bytes:
    return json.dumps({"images": images}).encode()


def with_pixel(value: Any, row: int = 4, column: int = 5) -> Any:
    image = [list(line) for line in PAPER]
    image[row][column] = value
    return image


def refusal(content: bytes, shape: tuple[int, ...] = SHAPE, most: int = 1024) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_images(content, shape, most)
    return caught.value


@pytest.mark.parametrize("shape", [(28, 28), (32, 32, 3)])
def test_images_arrive_as_they_were(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *shape)).astype(np.uint8)
    read = read_images(body(*images.tolist()), shape, 1024)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, images)


def test_fractions_are_rounded_to_the_nearest_whole_number() -> None:
    assert read_images(body(with_pixel(254.6)), SHAPE, 1)[0, 4, 5] == 255
    assert read_images(body(with_pixel(2.4)), SHAPE, 1)[0, 4, 5] == 2


def test_a_byte_order_mark_is_no_fault() -> None:
    assert read_images(codecs.BOM_UTF8 + body(with_pixel(200)), SHAPE, 1)[0, 4, 5] == 200


@pytest.mark.parametrize("largest", [1, 1.0, 0.4, 1e-9])
def test_pixels_to_1_are_refused(largest: float) -> None:
    fault = refusal(body(PAPER, with_pixel(largest)))
    assert (fault.status, fault.reason) == (422, "wrong_value")
    assert str(fault) == (
        f"images[1]: its pixels are on a scale from 0 to 1 (the largest is {largest:g}), but 0 to 255 are expected; "
        "multiply them by 255."
    )


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (b"", "malformed_json", "not JSON"),
        (b'{"images": [', "malformed_json", "not JSON"),
        (b"[" * 100_000, "malformed_json", "recursion limit"),
        (b'{"images": ' + b"1" * 6000 + b"}", "malformed_json", "out of range"),
        (b'{"images": "\xff"}', "malformed_json", "not JSON"),
        (b'{"images": "\\ud800"}', "malformed_json", "hex escape"),
    ],
)
def test_what_is_not_json_is_400(content: bytes, reason: str, says: str) -> None:
    fault = refusal(content)
    assert (fault.status, fault.reason) == (400, reason)
    assert says in str(fault)


@pytest.mark.parametrize(
    ("document", "reason", "says"),
    [
        ([], "wrong_keys", "a list of 0"),
        (None, "wrong_keys", "null"),
        ({}, "wrong_keys", 'lacks the key "images"'),
        ({"images": [PAPER], "top": 3}, "wrong_keys", "unknown key 'top'"),
        ({"images": "text"}, "wrong_shape", "images: 'text' is not a list"),
        ({"images": []}, "wrong_count", "images: 0 images; send 1 to 1024"),
        ({"images": PAPER}, "wrong_shape", "images[0]: the value at [0] is 0"),
        ({"images": [PAPER, [0] * 784]}, "wrong_shape", "images[1]: it is a list of 784, not a list of 28"),
        ({"images": [[[0] * 56] * 14]}, "wrong_shape", "images[0]: it is a list of 14"),
        ({"images": [[[0] * 56] * 28]}, "wrong_shape", "images[0]: the value at [0] is a list of 56"),
        ({"images": [[*PAPER[:-1], [0] * 27]]}, "wrong_shape", "the value at [27] is a list of 27"),
        ({"images": [None]}, "wrong_shape", "images[0]: it is null"),
        ({"images": [with_pixel([1])]}, "wrong_value", "[4][5] is a list of 1"),
        ({"images": [with_pixel({})]}, "wrong_value", "[4][5] is an object"),
    ],
)
def test_wrong_structure_is_422_and_named(document: Any, reason: str, says: str) -> None:
    fault = refusal(json.dumps(document).encode())
    assert (fault.status, fault.reason) == (422, reason)
    assert says in str(fault)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e400", "Infinity"),
        ("1" * 400, "1" * 40 + "..."),
        ("null", "null"),
        ("true", "true"),
        ("false", "false"),
        ('"7"', "'7'"),
        ("-1", "-1"),
        ("-0.1", "-0.1"),
        ("255.1", "255.1"),
        ("256", "256"),
    ],
)
def test_wrong_values_are_422_and_named(text: str, shown: str) -> None:
    content = body(PAPER, PAPER, PAPER, with_pixel("HERE")).replace(b'"HERE"', text.encode())
    fault = refusal(content)
    assert (fault.status, fault.reason) == (422, "wrong_value")
    assert str(fault) == (f"images[3]: the value at [4][5] is {shown}; an image is 28x28 numbers from 0 to 255.")


def test_places_in_colour_images_have_three_indices() -> None:
    image = np.zeros((32, 32, 3)).tolist()
    image[1][2][0] = -5
    assert "images[0]: the value at [1][2][0] is -5;" in str(refusal(body(image), (32, 32, 3)))


def test_too_many_images_are_not_read() -> None:
    fault = refusal(body(*[0] * 5), most=4)
    assert (fault.status, fault.reason) == (422, "wrong_count")
    assert "5 images; send 1 to 4" in str(fault)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
)
NEAR_MISSES = st.lists(st.lists(st.lists(JSON, min_size=2, max_size=2), min_size=2, max_size=2), max_size=3)


@given(JSON | NEAR_MISSES)
def test_any_json_value_is_read_or_refused(value: Any) -> None:
    try:
        images = images_from(value, (2, 2), 3)
    except Refusal as fault:
        assert str(fault).isascii()  # noqa: PT017 - most values are refused, few are not
    else:
        np.testing.assert_array_equal(images, np.rint(np.array(value, float)))


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_refused(content: bytes) -> None:
    assert refusal(content, (2, 2)).status in (400, 422)


@given(JSON)
def test_quotes_are_short(value: Any) -> None:
    assert len(quote(value)) <= 450


def test_too_many_values_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser holds up every other request; 16 MiB of small objects took it seconds."""
    monkeypatch.setattr("serving.api.inputs.from_json", None)
    for body in (b'{"images": [%s0]}' % (b"[]," * 10_000), b'{"x": [%s0]}' % (b'{"a":1},' * 10_000), b"[" * 10_000):
        with pytest.raises(Refusal, match="more values than 4 images") as refusal:
            read_images(body, (28, 28), 4)
        assert refusal.value.status == 413


def test_allowed_images_pass_the_count_of_values() -> None:
    images = np.full((4, 28, 28, 3), 255).tolist()
    assert read_images(json.dumps({"images": images}, indent=1).encode(), (28, 28, 3), 4).shape == (4, 28, 28, 3)
