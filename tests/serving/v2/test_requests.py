import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.bundles.predictor import OUTPUTS
from serving.refusals import Refusal
from serving.v2.requests import Form, read_object, read_request
from tests.serving.v2.bodies import LENGTH, binary_body, described, json_body, outcome

SHAPE = (2, 3)
IMAGES = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def read(document: Any) -> Any:
    return read_request(json.dumps(document).encode(), None, SHAPE, most=4)


def test_json_and_binary_requests_are_equal() -> None:
    body, headers = binary_body(IMAGES, id="7", parameters={"priority": 1}, model_name="other keys are tolerated")
    for request in (read_request(body, headers[LENGTH], SHAPE, 4), read(json_body(IMAGES, id="7"))):
        np.testing.assert_array_equal(request.images, IMAGES)
        assert request.id == "7"
        assert request.outputs == dict.fromkeys(OUTPUTS, Form())


def test_a_header_length_may_cover_the_whole_body() -> None:
    body = json.dumps(json_body(IMAGES)).encode()
    np.testing.assert_array_equal(read_request(body, f" {len(body)} ", SHAPE, 4).images, IMAGES)


@pytest.mark.parametrize("length", ["", "0", "-1", "+5", "1.5", "ten", "²", "1e2", "0x10", "9" * 5000, "0" * 20 + "5"])
def test_a_wrong_header_length_is_refused(length: str) -> None:
    body, _ = binary_body(IMAGES)
    with pytest.raises(Refusal, match=f"{LENGTH} is .*the body has {len(body)} bytes"):
        read_request(body, length, SHAPE, 4)


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_header_length_nearly_right_is_refused(shift: int) -> None:
    body, headers = binary_body(IMAGES)
    with pytest.raises(Refusal, match="JSON cannot be read"):
        read_request(body, str(int(headers[LENGTH]) + shift), SHAPE, 4)


def test_binary_data_need_the_header_length() -> None:
    header = json.dumps({"inputs": [described(IMAGES, parameters={"binary_data_size": 12})]}).encode()
    with pytest.raises(Refusal, match="set Inference-Header-Content-Length to the length of the JSON"):
        read_request(header, None, SHAPE, 4)


@pytest.mark.parametrize(
    ("changes", "outputs"),
    [
        ({"outputs": []}, dict.fromkeys(OUTPUTS, Form())),
        ({"outputs": None, "parameters": {"binary_data_output": True}}, dict.fromkeys(OUTPUTS, Form(binary=True))),
        ({"outputs": [{"name": "routing"}]}, {"routing": Form()}),
        ({"outputs": [{"name": "routing", "parameters": {"binary_data": True}}]}, {"routing": Form(binary=True)}),
        (
            {
                "outputs": [{"name": "routing", "parameters": {"binary_data": False}}, {"name": "confidence"}],
                "parameters": {"binary_data_output": True},
            },
            {"routing": Form(), "confidence": Form(binary=True)},
        ),
        ({"outputs": [{"name": "routing", "parameters": {"classification": 0, "any": {}}}]}, {"routing": Form()}),
        ({"outputs": [{"name": "routing", "parameters": {"classification": 3}}]}, {"routing": Form(classes=3)}),
    ],
)
def test_outputs_and_their_form_are_read_in_order(changes: Any, outputs: dict[str, Form]) -> None:
    assert list(read(json_body(IMAGES, **changes)).outputs.items()) == list(outputs.items())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"inputs": None}, '"inputs" is null; send a list with one input'),
        ({"inputs": {}}, '"inputs" is an object'),
        ({"inputs": []}, "There are 0 inputs; the model has one"),
        ({"inputs": [described(IMAGES, data=IMAGES.tolist())] * 2}, "There are 2 inputs"),
        ({"id": 7}, "The id is 7; send a string"),
        ({"parameters": 1}, "The request: the parameters are 1"),
        ({"parameters": {"binary_data_output": 1}}, "binary_data_output is 1; send true or false"),
        ({"outputs": {}}, '"outputs" is an object'),
        ({"outputs": "routing"}, "\"outputs\" is 'routing'"),
        ({"outputs": ["routing"]}, "The output 'routing' is unknown; the model has coarse_probability, routing"),
        ({"outputs": [{}]}, "The output null is unknown"),
        ({"outputs": [{"name": "logits"}]}, "The output 'logits' is unknown"),
        ({"outputs": [{"name": ["routing"]}]}, "The output a list of 1 is unknown"),
        ({"outputs": [{"name": "routing"}] * 2}, "'routing' is named twice"),
        ({"outputs": [{"name": "routing", "parameters": []}]}, "routing: the parameters are a list"),
        ({"outputs": [{"name": "routing", "parameters": {"binary_data": "no"}}]}, "binary_data is 'no'"),
        (
            {"outputs": [{"name": "routing", "parameters": {"classification": "3"}}]},
            "classification is '3'; send the number",
        ),
        (
            {"outputs": [{"name": "routing", "parameters": {"classification": -1}}]},
            "classification is -1; send the number",
        ),
        ({"outputs": [{"name": "routing", "parameters": {"classification": True}}]}, "classification is true"),
        ({"outputs": [{"name": "confidence", "parameters": {"classification": 3}}]}, "confidence: it has no classes"),
        ({"outputs": [{"name": "routing", "parameters": {"shared_memory_region": 0}}]}, "shared memory"),
    ],
)
def test_wrong_requests_are_refused_with_the_fault(changes: Any, says: str) -> None:
    with pytest.raises(Refusal, match=says) as refusal:
        read(json_body(IMAGES, **changes))
    assert refusal.value.status == 400


def test_an_output_not_computed_is_unknown() -> None:
    known = ["routing", "confidence"]
    bare = json.dumps(json_body(IMAGES)).encode()
    assert read_request(bare, None, SHAPE, 4, known).outputs == dict.fromkeys(known, Form())
    asking = json.dumps(json_body(IMAGES, outputs=[{"name": "expert_probability"}])).encode()
    with pytest.raises(Refusal, match="'expert_probability' is unknown; the model has routing, confidence"):
        read_request(asking, None, SHAPE, 4, known)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": ' * 5000, b"1" * 5000])
def test_what_is_not_json_is_refused(content: bytes) -> None:
    with pytest.raises(Refusal, match="JSON cannot be read"):
        read_object(content)


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b'"x"'])
def test_json_of_another_kind_is_refused(content: bytes) -> None:
    with pytest.raises(Refusal, match="send a JSON object"):
        read_object(content)


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "inputs": JSON_VALUES | st.lists(JSON_VALUES, max_size=2),
            "outputs": JSON_VALUES | st.lists(st.fixed_dictionaries({"name": JSON_VALUES}), max_size=2),
            "id": JSON_VALUES,
            "parameters": JSON_VALUES,
        },
    ),
    tensor=st.fixed_dictionaries(
        {},
        optional={
            "name": JSON_VALUES,
            "datatype": st.sampled_from(["UINT8", "FP32", "BOOL"]) | JSON_VALUES,
            "shape": st.lists(st.integers(-2, 5), max_size=4) | JSON_VALUES,
            "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(0, 60) | JSON_VALUES}) | JSON_VALUES,
            "data": st.lists(JSON_VALUES, min_size=12, max_size=12) | JSON_VALUES,
        },
    ),
    binary=st.binary(max_size=20) | st.just(IMAGES.tobytes()),
    shift=st.integers(-3, 3),
)
def test_any_body_is_answered_or_400(
    changes: dict[str, Any], tensor: dict[str, Any], binary: bytes, shift: int
) -> None:
    start = described(IMAGES, parameters={"binary_data_size": 12})
    header = json.dumps({"inputs": [start | tensor]} | changes).encode()
    request = outcome(lambda: read_request(header + binary, str(len(header) + shift), SHAPE, 4))
    if isinstance(request, Refusal):
        assert request.status == 400
        assert len(str(request)) < 300
    else:
        assert (request.images.dtype, request.images.shape[1:]) == (np.uint8, SHAPE)
        assert set(request.outputs) <= set(OUTPUTS)
        if "data" not in tensor and "inputs" not in changes and start | tensor == start:
            assert request.images.tobytes() == binary[-12:]


@given(body=st.binary(max_size=200), length=st.none() | st.integers(-1, 220).map(str) | st.text(max_size=5))
def test_any_bytes_are_refused_with_400(body: bytes, length: str | None) -> None:
    with pytest.raises(Refusal) as refusal:
        read_request(body, length, SHAPE, 4)
    assert refusal.value.status == 400
