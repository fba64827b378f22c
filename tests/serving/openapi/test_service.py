import json
import re
from pathlib import Path

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictor
from serving.openapi.service import describe
from serving.routes import ENDPOINTS, SERVER_SLASH
from serving.settings import Settings

ADMIN = {"/metrics", "/v2/repository/models/{name}/load", "/v2/repository/models/{name}/unload"}


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


def test_common_answers_are_documented_everywhere(predictor: Predictor) -> None:
    for operations in describe(predictor.manifest, Settings())["paths"].values():
        for method in operations.keys() & {"get", "head", "post"}:
            answers = set(operations[method]["responses"])
            assert {"400", "408", "431", "500", "503", "504"} <= answers
            assert ({"413", "415"} <= answers) == (method == "post")


def test_every_reference_of_the_document_resolves(predictor: Predictor) -> None:
    document = describe(predictor.manifest, Settings())
    schemas = document["components"]["schemas"]
    references = re.findall(r"#/components/schemas/(\w+)", json.dumps(document))
    assert references
    assert set(references) <= set(schemas)


def test_keys_are_documented_where_they_are_needed(predictor: Predictor) -> None:
    document = describe(predictor.manifest, Settings(api_keys_file=Path("keys"), metrics_open=False))
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    scopes = {}
    for path, operations in document["paths"].items():
        for method in operations.keys() & {"get", "head", "post"}:
            security = operations[method].get("security")
            scopes[path] = security and security[0]["bearer"][0]
            assert ({"401", "403"} <= set(operations[method]["responses"])) == (security is not None)
    open_to_all = {"/", "/static/{file}", "/livez", "/readyz", "/healthz", "/docs.json"}
    open_to_all |= {"/v2/health/live", "/v2/health/ready"}
    assert {path for path, scope in scopes.items() if scope is None} == open_to_all
    assert {path for path, scope in scopes.items() if scope == "admin"} == ADMIN
    assert scopes["/predict"] == scopes["/v2/models/{name}/versions/{version}/infer"] == "predict"


def test_without_keys_none_is_documented(predictor: Predictor) -> None:
    document = describe(predictor.manifest, Settings())
    text = json.dumps(document)
    assert not any(word in text for word in ("securitySchemes", '"security"', '"401"'))
    refused = {path for path in document["paths"] if '"403"' in json.dumps(document["paths"][path])}
    # There are no keys.
    assert refused == ADMIN - {"/metrics"}


def test_confidence_and_abstention_are_documented(predictor: Predictor) -> None:
    prediction = describe(predictor.manifest, Settings())["components"]["schemas"]["Prediction"]
    assert prediction["properties"]["confidence"]["type"] == "number"
    assert prediction["properties"]["abstain"]["type"] == "boolean"
    assert {"confidence", "abstain"} <= set(prediction["required"])
    assert "under the" in prediction["description"]


def test_models_of_other_shapes_are_told_too(predictor: Predictor) -> None:
    document = describe(predictor.manifest, Settings(), predictor.manifest, manifest(predictor, (8, 9, 3)))
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    heights = [either["properties"]["images"]["items"]["minItems"] for either in schema["anyOf"]]
    assert heights == [28, 8]
    protocol = json.dumps(document["paths"]["/v2/models/{name}/infer"])
    assert all(shape in protocol for shape in ('"[N, 28, 28]"', '"[N, 8, 9, 3]"'))


def test_a_request_may_name_its_model(predictor: Predictor) -> None:
    paths = describe(predictor.manifest, Settings())["paths"]
    for path, method in (("/predict", "post"), ("/predict_image", "post"), ("/model.json", "get")):
        assert [parameter["name"] for parameter in paths[path]["parameters"]] == ["model", "version"]
        assert "404" in paths[path][method]["responses"]


def test_request_ids_and_retries_are_documented(predictor: Predictor) -> None:
    document = describe(predictor.manifest, Settings(api_keys_file=Path("keys")))
    told = set()
    for path, operations in document["paths"].items():
        for method in operations.keys() & {"get", "head", "post"}:
            responses = operations[method]["responses"]
            assert {"200", "408", "500", "504"} <= set(responses)
            assert all("X-Request-Id" in response["headers"] for response in responses.values())
            if "Retry-After" in responses.get("503", {"headers": {}})["headers"]:
                told.add(path)
    infer = ["/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"]
    assert told == {"/predict", "/predict_image", "/v2/repository/index", *infer}


def test_all_that_the_service_answers_is_documented(predictor: Predictor) -> None:
    paths = describe(predictor.manifest, Settings())["paths"]
    declared = {endpoint.path: endpoint for endpoint in ENDPOINTS if endpoint is not SERVER_SLASH}
    assert set(paths) == set(declared)
    for path, endpoint in declared.items():
        assert {method.lower() for method in endpoint.methods} == set(paths[path]) - {"parameters"}
