"""The protocol's part of the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from clustnet.predictor import CONDITIONAL_OUTPUTS, OUTPUTS
from clustnet.settings import Settings
from serving.responses import ERRORS
from serving.v2.requests import HEADER_LENGTH
from serving.v2.responses import BINARY_TYPE, JSON_TYPE
from serving.v2.tensors import DTYPES, INPUT

Schema = dict[str, Any]

NO_MODEL = {404: "There is no such model, or it is unloaded."}
NOT_READY = {503: "The model is not ready."}
INFER_FAULTS = {
    400: "Anything wrong in the request; the reason names the fault.",
    **NO_MODEL,
    408: ERRORS[408],
    413: ERRORS[413],
    415: "The body is packed in another way than gzip or deflate.",
    500: ERRORS[500],
    503: ERRORS[503],
    504: ERRORS[504],
}
CHANGE_FAULTS = {
    400: "A bundle cannot be used, so all is served as before; or anything wrong in the request.",
    403: "The service has no API keys, or the key's scopes do not reach so far.",
    **NO_MODEL,
    408: ERRORS[408],
    413: ERRORS[413],
    500: ERRORS[500],
    504: ERRORS[504],
}
IN_FORCE = "When the answer comes it is in force in the worker that answers; the others follow about a second later."
INTEGERS: Schema = {"type": "array", "items": {"type": "integer"}}
PARAMETERS: Schema = {"type": "object"}


def describe_protocol(shapes: Sequence[tuple[int, ...]], settings: Settings) -> Schema:
    """Return the protocol's paths for models that read images of these shapes, for an OpenAPI 3.1 document."""
    return {
        "/v2": {"get": _operation("The server's name, version and extensions.")},
        "/v2/health/live": {"get": _operation("The process is alive.")},
        "/v2/health/ready": {"get": _operation("Every model is ready.", NOT_READY)},
        "/v2/repository/index": {"post": _index()},
        **_at_model("", "get", _operation("The model's inputs and outputs.", NO_MODEL)),
        **_at_model("/ready", "get", _operation("The model is ready.", NOT_READY | NO_MODEL)),
        **_at_model("/infer", "post", _infer(shapes, settings)),
        "/v2/repository/models/{name}/load": _change("Read a model's folders again and serve what they hold now."),
        "/v2/repository/models/{name}/unload": _change("Stop serving all versions of a model."),
    }


def _at_model(path: str, method: str, operation: Schema) -> Schema:
    """Describe one path below a model, without and with its version."""
    name, version = map(_in_path, ("name", "version"))
    return {
        f"/v2/models/{{name}}{path}": {method: operation, "parameters": [name]},
        f"/v2/models/{{name}}/versions/{{version}}{path}": {method: operation, "parameters": [name, version]},
    }


def _in_path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _operation(summary: str, faults: dict[int, str] | None = None) -> Schema:
    error = {JSON_TYPE: {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses: Schema = {"200": {"description": "OK", "content": {JSON_TYPE: {"schema": {}}}}}
    responses |= {str(status): {"description": text, "content": error} for status, text in (faults or {}).items()}
    return {"summary": summary, "responses": responses}


def _index() -> Schema:
    schema = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    body = {"content": {JSON_TYPE: {"schema": schema}}}
    faults = {status: INFER_FAULTS[status] for status in (400, 408, 413, 503)}
    return _operation("The models and their states.", faults) | {"requestBody": body}


def _change(summary: str) -> Schema:
    """Describe a load or an unload."""
    body = {"content": {JSON_TYPE: {"schema": {"type": "object", "properties": {"parameters": PARAMETERS}}}}}
    operation = _operation(summary, CHANGE_FAULTS) | {"requestBody": body, "description": IN_FORCE}
    versions = {"type": "array", "items": {"type": "string"}}
    properties = {"name": {"type": "string"}, "versions": versions}
    answer = {"type": "object", "properties": properties, "required": list(properties)}
    operation["responses"]["200"]["content"][JSON_TYPE]["schema"] = answer
    return {"post": operation, "parameters": [_in_path("name")]}


def _infer(shapes: Sequence[tuple[int, ...]], settings: Settings) -> Schema:
    """Describe an inference; binary data can only be told in words."""
    limit = f"At most {settings.max_body_bytes} bytes, unpacked, and {settings.max_images} images. "
    limit += f"Binary data follow the JSON, whose length in bytes is then told by the header {HEADER_LENGTH}."
    content = {JSON_TYPE: {"schema": _request(shapes, settings)}, BINARY_TYPE: {"schema": {}}}
    operation = _operation("The outputs of the mixture of experts for each image.", INFER_FAULTS)
    operation["responses"]["200"]["content"][BINARY_TYPE] = {"schema": {}}
    header = {"name": HEADER_LENGTH, "in": "header", "schema": {"type": "integer", "minimum": 1}}
    body = {"required": True, "description": limit, "content": content}
    return operation | {"parameters": [header], "requestBody": body}


def _request(shapes: Sequence[tuple[int, ...]], settings: Settings) -> Schema:
    described = " or ".join(str(["N", *shape]).replace("'", "") for shape in shapes)
    tensor = {
        "name": {"const": INPUT},
        "datatype": {"enum": list(DTYPES)},
        "shape": INTEGERS | {"description": described},
        "parameters": PARAMETERS,
        "data": {"type": "array", "description": "Numbers from 0 to 255, flat or nested as the shape."},
    }
    names = CONDITIONAL_OUTPUTS if settings.experts == "chosen" else OUTPUTS
    output = {"name": {"enum": names}, "parameters": PARAMETERS}
    properties = {
        "id": {"type": "string"},
        "parameters": PARAMETERS,
        "inputs": _list(tensor, ["name", "datatype", "shape"]) | {"minItems": 1, "maxItems": 1},
        "outputs": _list(output, ["name"]),
    }
    return {"type": "object", "properties": properties, "required": ["inputs"]}


def _list(properties: Schema, required: list[str]) -> Schema:
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": required}}
