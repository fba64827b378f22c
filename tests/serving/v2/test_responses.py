import json

import numpy as np

from clustnet.bundles.predictor import OUTPUTS, Predictions, Predictor
from serving.v2.requests import InferRequest
from serving.v2.responses import model_metadata, write_response
from tests.serving.v2.bodies import LENGTH

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)


def request(outputs: dict[str, bool], id: str | None = None) -> InferRequest:
    return InferRequest(IMAGES, outputs, id)


def test_json_outputs_hold_every_bit_of_the_floats(predictor: Predictor) -> None:
    outputs = predictor.predict(IMAGES)
    body, headers = write_response(request(dict.fromkeys(OUTPUTS, False), "é"), outputs, predictor.manifest)
    assert headers == {"Content-Type": "application/json"}
    document = json.loads(body)
    assert (document["model_name"], document["model_version"], document["id"]) == ("synthetic", "1", "é")
    assert [output["name"] for output in document["outputs"]] == OUTPUTS
    for output in document["outputs"]:
        values = np.array(output["data"], np.float32).reshape(output["shape"])
        np.testing.assert_array_equal(values, getattr(outputs, output["name"]))


def test_binary_outputs_follow_in_requested_order(predictor: Predictor) -> None:
    outputs = predictor.predict(IMAGES)
    asked = {"confidence": True, "coarse_probability": False, "routing": True}
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


def test_the_metadata_tell_the_shapes_of_the_outputs(predictor: Predictor) -> None:
    metadata = model_metadata(predictor, ["1", "2"])
    outputs: Predictions = predictor.predict(IMAGES)
    for output in metadata["outputs"]:
        assert [-1, *getattr(outputs, output["name"]).shape[1:]] == output["shape"]
    assert metadata["versions"] == ["1", "2"]
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28]}]
