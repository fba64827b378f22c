import json

import numpy as np

from clustnet.bundles.predictor import OUTPUTS, Predictions, Predictor
from serving.v2.requests import Form, InferRequest
from serving.v2.responses import model_metadata, write_response
from tests.serving.v2.bodies import LENGTH

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)


def request(outputs: dict[str, Form], id: str | None = None) -> InferRequest:
    return InferRequest(IMAGES, outputs, id)


def test_json_outputs_hold_every_bit_of_the_floats(predictor: Predictor) -> None:
    outputs = predictor.predict(IMAGES)
    body, headers = write_response(request(dict.fromkeys(OUTPUTS, Form()), "é"), outputs, predictor.manifest)
    assert headers == {"Content-Type": "application/json"}
    document = json.loads(body)
    assert (document["model_name"], document["model_version"], document["id"]) == ("synthetic", "1", "é")
    assert [output["name"] for output in document["outputs"]] == OUTPUTS
    for output in document["outputs"]:
        values = np.array(output["data"], np.float32).reshape(output["shape"])
        np.testing.assert_array_equal(values, getattr(outputs, output["name"]))


def test_binary_outputs_follow_in_requested_order(predictor: Predictor) -> None:
    outputs = predictor.predict(IMAGES)
    asked = {"confidence": Form(binary=True), "coarse_probability": Form(), "routing": Form(binary=True)}
    body, headers = write_response(request(asked), outputs, predictor.manifest)
    length = int(headers[LENGTH])
    assert headers["Content-Type"] == "application/octet-stream"
    document = json.loads(body[:length])
    assert "id" not in document
    assert [output.get("parameters") for output in document["outputs"]] == [
        {"binary_data_size": 12},
        None,
        {"binary_data_size": 60},
    ]
    assert body[length:] == outputs.confidence.astype("<f4").tobytes() + outputs.routing.astype("<f4").tobytes()


def test_the_largest_values_have_their_labels(predictor: Predictor) -> None:
    outputs = predictor.predict(IMAGES)
    asked = {"class_probability": Form(classes=2), "routing": Form(classes=99), "coarse_probability": Form(True, 1)}
    body, headers = write_response(request(asked), outputs, predictor.manifest)
    classes, routing, coarse = json.loads(body[: int(headers[LENGTH])])["outputs"]
    assert [(output["datatype"], output["shape"]) for output in (classes, routing)] == [
        ("BYTES", [3, 2]),
        ("BYTES", [3, 5]),
    ]
    best = np.argsort(-outputs.class_probability, axis=1)[:, :2]
    names = predictor.manifest.class_names
    expected = [f"{outputs.class_probability[row, i]:f}:{i}:{names[i]}" for row in range(3) for i in best[row]]
    assert classes["data"] == expected
    assert [text.split(":")[1] for text in routing["data"][:1]] == [str(outputs.routing[0].argmax())]
    label = predictor.manifest.coarse_labels[int(outputs.coarse_probability[0].argmax())]
    size = coarse["parameters"]["binary_data_size"]
    content = body[int(headers[LENGTH]) :]
    assert len(content) == size
    length = int.from_bytes(content[:4], "little")
    assert content[4 : 4 + length].decode().endswith(f":{label}")


def test_the_metadata_tell_the_shapes_of_the_outputs(predictor: Predictor) -> None:
    metadata = model_metadata(predictor, ["1", "2"])
    outputs: Predictions = predictor.predict(IMAGES)
    for output in metadata["outputs"]:
        assert [-1, *getattr(outputs, output["name"]).shape[1:]] == output["shape"]
    assert metadata["versions"] == ["1", "2"]
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28]}]
