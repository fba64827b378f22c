"""The protocol's part of the OpenAPI document."""

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, OUTPUTS, TREE_OUTPUT
from serving import routes
from serving.api.compression import WINDOW_BITS
from serving.headers import CONTENT_ENCODING, HEADER_LENGTH, RETRY_AFTER
from serving.refusals import ERRORS
from serving.settings import Settings
from serving.v2.responses import BINARY_TYPE, JSON_TYPE
from serving.v2.tensors import DTYPES, INPUT

Schema = dict[str, Any]

NO_MODEL = {404: "There is no such model, or it is unloaded."}
NOT_READY = {503: "The model is not ready."}
INFER_FAULTS = {
    400: "The request is wrong; the reason names the fault.",
    **NO_MODEL,
    408: ERRORS[408],
    413: ERRORS[413],
    415: "The body is compressed with something other than gzip or deflate.",
    500: ERRORS[500],
    503: ERRORS[503],
    504: ERRORS[504],
}
CHANGE_FAULTS = {
    400: "A bundle cannot be used, so everything is served as before; or the request is wrong.",
    403: "The service has no API keys, or the key lacks the scope.",
    **NO_MODEL,
    408: ERRORS[408],
    413: ERRORS[413],
    500: ERRORS[500],
    504: ERRORS[504],
}
IN_FORCE = "The change is in force at once in the worker that answers; the others follow about a second later."
RETRY_HEADER: Schema = {
    RETRY_AFTER: {
        "description": "Seconds to wait before the next try, where too many requests wait.",
        "schema": {"type": "integer"},
    }
}
STRING: Schema = {"type": "string"}
STRINGS: Schema = {"type": "array", "items": STRING}
INTEGERS: Schema = {"type": "array", "items": {"type": "integer"}}
PARAMETERS: Schema = {"type": "object"}
STATISTICS: Schema = {"type": "object", "properties": {"model_stats": {"type": "array", "items": {"type": "object"}}}}


def describe_protocol(manifests: Sequence[Manifest], settings: Settings) -> Schema:
    """Return the protocol's paths for these models, for the ``paths`` of an OpenAPI 3.1 document."""
    true = {"const": True}
    server = object_of({"name": STRING, "version": STRING, "extensions": STRINGS})
    model_ready = object_of({"name": STRING, "ready": true})
    return {
        routes.SERVER.path: {"get": _operation("The server's name, version and extensions.", server)},
        routes.PROTOCOL_LIVE.path: {"get": _operation("The process is alive.", object_of({"live": true}))},
        routes.PROTOCOL_READY.path: {"get": _operation("Every model is ready.", object_of({"ready": true}), NOT_READY)},
        routes.INDEX.path: {"post": _index()},
        **_at_model(manifests, "", "get", _operation("The model's inputs and outputs.", _metadata(), NO_MODEL)),
        **_at_model(manifests, "/ready", "get", _operation("The model is ready.", model_ready, NOT_READY | NO_MODEL)),
        routes.STATISTICS.path: {"get": _operation("What each model has answered since the start.", STATISTICS)},
        **_at_model(manifests, "/stats", "get", _operation("What the model has answered.", STATISTICS, NO_MODEL)),
        **_at_model(
            manifests,
            "/config",
            "get",
            _operation("The model's configuration, in Triton's form.", PARAMETERS, NO_MODEL),
        ),
        **_at_model(manifests, "/infer", "post", _infer(manifests, settings)),
        routes.LOAD.path: _change(manifests, "Read a model's folders again and serve what they hold now."),
        routes.UNLOAD.path: _change(manifests, "Stop serving all versions of a model."),
    }


def _at_model(manifests: Sequence[Manifest], path: str, method: str, operation: Schema) -> Schema:
    """Describe one path below a model, without and with its version."""
    names = _in_path("name", [manifest.name for manifest in manifests])
    versions = _in_path("version", [manifest.version for manifest in manifests])
    return {
        f"{routes.MODEL.path}{path}": {method: deepcopy(operation), "parameters": [names]},
        f"{routes.MODEL_VERSION.path}{path}": {method: operation, "parameters": [names, versions]},
    }


def _in_path(name: str, values: Iterable[str]) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"enum": list(dict.fromkeys(values))}}


def shapes_of(manifests: Iterable[Manifest]) -> list[tuple[int, ...]]:
    """Return the image shapes that these models read, each once."""
    return list(dict.fromkeys(manifest.input.shape for manifest in manifests))


def _operation(summary: str, answer: Schema, faults: dict[int, str] | None = None) -> Schema:
    error = {JSON_TYPE: {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses: Schema = {"200": {"description": "OK", "content": {JSON_TYPE: {"schema": answer}}}}
    responses |= {str(status): {"description": text, "content": error} for status, text in (faults or {}).items()}
    return {"summary": summary, "responses": responses}


def _computing(summary: str, answer: Schema, faults: dict[int, str]) -> Schema:
    """Describe an operation that waits for its turn."""
    operation = _operation(summary, answer, faults)
    operation["responses"]["503"]["headers"] = RETRY_HEADER.copy()
    return operation


def _metadata() -> Schema:
    tensors = _list({"name": STRING, "datatype": STRING, "shape": INTEGERS}, ["name", "datatype", "shape"])
    return object_of(
        {"name": STRING, "versions": STRINGS, "platform": STRING, "inputs": tensors, "outputs": tensors},
    )


def _index() -> Schema:
    schema = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    body = {"content": {JSON_TYPE: {"schema": schema}}}
    faults = {status: INFER_FAULTS[status] for status in (400, 408, 413, 503)}
    entry = {"name": STRING, "version": STRING, "state": {"enum": ["READY", "UNAVAILABLE"]}, "reason": STRING}
    operation = _computing("The models and their states.", _list(entry, list(entry)), faults)
    return operation | {"requestBody": body}


def _change(manifests: Sequence[Manifest], summary: str) -> Schema:
    """Describe a load or an unload."""
    body = {"content": {JSON_TYPE: {"schema": {"type": "object", "properties": {"parameters": PARAMETERS}}}}}
    operation = _operation(summary, object_of({"name": STRING, "versions": STRINGS}), CHANGE_FAULTS)
    names = _in_path("name", [manifest.name for manifest in manifests])
    return {"post": operation | {"requestBody": body, "description": IN_FORCE}, "parameters": [names]}


def _infer(manifests: Sequence[Manifest], settings: Settings) -> Schema:
    """Describe an inference; OpenAPI can describe binary data only in words."""
    shapes = shapes_of(manifests)
    limit = f"At most {settings.max_body_bytes} bytes, unpacked, and {settings.max_images} images. "
    limit += f"Binary data follow the JSON; the header {HEADER_LENGTH} then gives the length of the JSON in bytes. "
    limit += f"With the header {CONTENT_ENCODING} the body is compressed with gzip or deflate; so is the answer, if "
    limit += "Accept-Encoding allows it."
    schema = _request(shapes, settings)
    content = {JSON_TYPE: {"schema": schema, "example": _blank(shapes[0])}, BINARY_TYPE: {}}
    operation = _computing("The outputs of the mixture of experts for each image.", _response(), INFER_FAULTS)
    answer = operation["responses"]["200"]
    answer["content"][BINARY_TYPE] = {}
    answer["headers"] = {
        HEADER_LENGTH: {"description": "With binary data.", "schema": {"type": "integer"}},
        CONTENT_ENCODING: {"schema": {"enum": list(WINDOW_BITS)}},
    }
    header = {"name": HEADER_LENGTH, "in": "header", "schema": {"type": "integer", "minimum": 1}}
    body = {"required": True, "description": limit, "content": content}
    return operation | {"parameters": [header], "requestBody": body}


def _request(shapes: Sequence[tuple[int, ...]], settings: Settings) -> Schema:
    tensors = [_shape(shape, settings.max_images) for shape in shapes]
    tensor = {
        "name": {"const": INPUT},
        "datatype": {"enum": list(DTYPES)},
        "shape": tensors[0] if len(tensors) == 1 else {"anyOf": tensors},
        "parameters": PARAMETERS,
        "data": {"type": "array", "description": "Numbers from 0 to 255, flat or nested like the shape."},
    }
    names = CONDITIONAL_OUTPUTS if settings.experts == "chosen" else OUTPUTS
    output = {"name": {"enum": names}, "parameters": PARAMETERS}
    properties = {
        "id": STRING,
        "parameters": PARAMETERS,
        "inputs": _list(tensor, ["name", "datatype", "shape"]) | {"minItems": 1, "maxItems": 1},
        "outputs": _list(output, ["name"]) | {"maxItems": len(names)},
    }
    return {"type": "object", "properties": properties, "required": ["inputs"]}


def _shape(shape: tuple[int, ...], most: int) -> Schema:
    lengths = [{"type": "integer", "minimum": 1, "maximum": most}, *({"const": n} for n in shape)]
    return {
        "type": "array",
        "prefixItems": lengths,
        "minItems": len(lengths),
        "maxItems": len(lengths),
        "description": f"[{', '.join(['N', *map(str, shape)])}]",
    }


def _blank(shape: tuple[int, ...]) -> Schema:
    """Return a request with one blank image."""
    image = {"name": INPUT, "datatype": "UINT8", "shape": [1, *shape], "data": [0] * math.prod(shape)}
    return {"inputs": [image]}


def _response() -> Schema:
    """Describe an answer; tensors that are requested as binary data have parameters instead of data."""
    tensor = {
        "name": {"enum": [*OUTPUTS, TREE_OUTPUT]},
        "datatype": {"enum": ["FP32", "BYTES"], "description": "BYTES for classes, such as 0.9:7:seven."},
        "shape": INTEGERS,
        "data": {"type": "array", "items": {"type": ["number", "string"]}},
        "parameters": PARAMETERS,
    }
    outputs = _list(tensor, ["name", "datatype", "shape"])
    properties = {"model_name": STRING, "model_version": STRING, "id": STRING, "outputs": outputs}
    return {"type": "object", "properties": properties, "required": ["model_name", "model_version", "outputs"]}


def object_of(properties: Schema) -> Schema:
    """Return the schema of an object with all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(properties: Schema, required: list[str]) -> Schema:
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": required}}
