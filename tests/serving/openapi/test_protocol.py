from clustnet.bundles.predictor import OUTPUTS, Predictor
from serving.openapi.service import describe
from serving.routes import ENDPOINTS, PROTOCOL, SERVER_SLASH
from serving.settings import Settings


def test_every_protocol_path_is_documented(predictor: Predictor) -> None:
    documented = describe(predictor.manifest, Settings())["paths"]
    for endpoint in ENDPOINTS:
        if endpoint.path.startswith(PROTOCOL) and endpoint is not SERVER_SLASH:
            methods = {method.lower() for method in endpoint.methods}
            assert methods == set(documented[endpoint.path]) - {"parameters"}


def test_inference_documents_limits_and_faults(predictor: Predictor) -> None:
    document = describe(predictor.manifest, Settings(max_images=7, max_body_bytes=2048))
    operation = document["paths"]["/v2/models/{name}/versions/{version}/infer"]["post"]
    assert {"200", "400", "404", "408", "413", "415", "431", "500", "503", "504"} == set(operation["responses"])
    assert "2048 bytes, unpacked, and 7 images" in operation["requestBody"]["description"]
    properties = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert properties["inputs"]["items"]["properties"]["shape"]["description"] == "[N, 28, 28]"
    assert properties["outputs"]["items"]["properties"]["name"]["enum"] == OUTPUTS


def test_outputs_of_the_chosen_expert_alone_are_told(predictor: Predictor) -> None:
    document = describe(predictor.manifest, Settings(experts="chosen"))
    body = document["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]
    names = body["schema"]["properties"]["outputs"]["items"]["properties"]["name"]["enum"]
    assert names == [name for name in OUTPUTS if name != "expert_probability"]
