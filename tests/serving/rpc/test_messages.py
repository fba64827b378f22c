from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as client

from clustnet.bundles.predictor import OUTPUTS, Predictor
from serving.refusals import Refusal
from serving.rpc.messages import read_message, write_message
from serving.rpc.protocol import messages
from serving.v2.requests import Form, InferRequest

SHAPE = (28, 28)
IMAGES = np.random.default_rng(5).integers(0, 256, (3, *SHAPE)).astype(np.uint8)


def message(**changes: Any) -> Any:
    """Return a request with raw images."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": IMAGES.shape} | changes.pop("tensor", {})
    content = {"raw_input_contents": [IMAGES.tobytes()]} | changes
    asked = client.ModelInferRequest(model_name="m", inputs=[tensor], **content)
    return messages.ModelInferRequest.FromString(asked.SerializeToString())


@pytest.mark.parametrize(
    ("datatype", "typed"),
    [("UINT8", False), ("UINT8", True), ("FP32", False), ("FP32", True)],
)
def test_raw_and_typed_contents_are_equal(datatype: str, typed: bool) -> None:
    pixels = IMAGES.astype({"UINT8": "u1", "FP32": "<f4"}[datatype])
    field = {"UINT8": "uint_contents", "FP32": "fp32_contents"}[datatype]
    contents = {"contents": {field: pixels.ravel().tolist()}} if typed else {}
    raw = [] if typed else [pixels.tobytes()]
    asked = read_message(message(tensor={"datatype": datatype} | contents, raw_input_contents=raw), SHAPE, 4, OUTPUTS)
    np.testing.assert_array_equal(asked.images, IMAGES)
    assert (asked.outputs, asked.id) == (dict.fromkeys(OUTPUTS, Form()), None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"raw_input_contents": [b"", b""]}, "There are 2 raw contents for 1 inputs"),
        ({"raw_input_contents": [b"123"]}, "binary_data_size is 3; UINT8 .* takes 2352 bytes"),
        ({"raw_input_contents": []}, "the data are not the 2352 values"),
        ({"tensor": {"shape": [3, 784]}}, r"the shape is \[3, 784\]; send \[N, 28, 28\]"),
        ({"tensor": {"shape": [9, 28, 28]}}, "9 images; send 1 to 4"),
        ({"tensor": {"datatype": "FP64"}}, "'FP64' is unknown; send UINT8 or FP32"),
        ({"tensor": {"name": "x"}}, "The input 'x' is unknown"),
        ({"tensor": {"parameters": {"shared_memory_region": {"string_param": "a"}}}}, "shared memory"),
        ({"outputs": [{"name": "logits"}]}, "The output 'logits' is unknown"),
        (
            {"outputs": [{"name": "confidence", "parameters": {"classification": {"int64_param": 1}}}]},
            "confidence: it has no classes",
        ),
    ],
)
def test_wrong_messages_are_refused_with_the_fault(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match=says) as refusal:
        read_message(message(**changes), SHAPE, 4, OUTPUTS)
    assert refusal.value.status == 400


def test_classes_are_asked_for_by_a_parameter() -> None:
    output = {"name": "routing", "parameters": {"classification": {"int64_param": 2}}}
    asked = read_message(message(outputs=[output]), SHAPE, 4, OUTPUTS)
    assert asked.outputs == {"routing": Form(classes=2)}


def test_outputs_are_raw_and_in_order(predictor: Predictor) -> None:
    outputs = predictor.predict(IMAGES)
    request = InferRequest(IMAGES, {"confidence": Form(), "class_probability": Form(classes=2)}, "7")
    answer = write_message(request, outputs, predictor.manifest)
    assert (answer.id, answer.model_name, answer.model_version) == ("7", "synthetic", "1")
    assert [(output.name, output.datatype, list(output.shape)) for output in answer.outputs] == [
        ("confidence", "FP32", [3]),
        ("class_probability", "BYTES", [3, 2]),
    ]
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], "<f4"), outputs.confidence)
    length = int.from_bytes(answer.raw_output_contents[1][:4], "little")
    best = int(outputs.class_probability[0].argmax())
    assert answer.raw_output_contents[1][4 : 4 + length].decode().split(":")[1] == str(best)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    try:
        parsed = messages.ModelInferRequest.FromString(content)
    except DecodeError:
        return
    with pytest.raises(Refusal):
        read_message(parsed, SHAPE, 4, OUTPUTS)
