import json
import re

from clustnet.bundle import Manifest
from clustnet.predictor import Predictor
from clustnet.settings import Settings
from serving.openapi import describe


def manifest(predictor: Predictor, shape: tuple[int, ...]) -> Manifest:
    spec = predictor.manifest.input.model_copy(update={"shape": shape})
    return predictor.manifest.model_copy(update={"input": spec})


def test_the_document_tells_the_shape_and_the_limits(predictor: Predictor) -> None:
    document = describe(manifest(predictor, (32, 16, 3)), Settings(max_images=7, max_body_bytes=2048))
    request = document["paths"]["/predict"]["post"]["requestBody"]
    schema = request["content"]["application/json"]["schema"]["properties"]["images"]
    assert "2048" in request["description"]
    assert (schema["minItems"], schema["maxItems"]) == (1, 7)
    lengths = []
    while "items" in schema:
        schema = schema["items"]
        lengths.append(schema.get("maxItems"))
    assert lengths == [32, 16, 3, None]
    assert schema == {"type": "number", "minimum": 0, "maximum": 255}


def test_every_reference_of_the_document_resolves(predictor: Predictor) -> None:
    document = describe(predictor.manifest, Settings())
    schemas = document["components"]["schemas"]
    references = re.findall(r"#/components/schemas/(\w+)", json.dumps(document))
    assert references
    assert set(references) <= set(schemas)


def test_confidence_and_abstention_are_documented(predictor: Predictor) -> None:
    prediction = describe(predictor.manifest, Settings())["components"]["schemas"]["Prediction"]
    assert prediction["properties"]["confidence"]["type"] == "number"
    assert prediction["properties"]["abstain"]["type"] == "boolean"
    assert {"confidence", "abstain"} <= set(prediction["required"])
    assert "under the" in prediction["description"]
