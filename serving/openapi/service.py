"""The OpenAPI document, with the limits and the errors."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from clustnet.bundles.bundle import Manifest
from serving import routes
from serving.api.feedback_store import FeedbackRequest, FeedbackResponse
from serving.api.pages import STATIC
from serving.api.responses import Error, PredictImageResponse, PredictResponse
from serving.headers import API_KEY, REQUEST_ID, REQUEST_ID_PATTERN, WWW_AUTHENTICATE
from serving.keys.access import FAULTS, needed_scope
from serving.openapi.protocol import NO_MODEL, RETRY_HEADER, describe_protocol, object_of, shapes_of
from serving.refusals import ERRORS
from serving.settings import Settings

Schema = dict[str, Any]

JSON, TEXT = "application/json", "text/plain"
ANY_REQUEST = (400, 408, 431, 500, 503, 504)
ANY_BODY = (413, 415)
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": API_KEY},
}
NO_FILE = {404: "There is no such file."}
NO_EXAMPLE = {404: "There is no such model, or its subtype has no such example; the card says how many there are."}
FEEDBACK_FAULTS = {
    400: "The body is not JSON.",
    404: "The service takes no feedback, or no answer with this request id is known, or it is no longer kept.",
    409: "There is feedback on this image already, with another label.",
    503: "The feedback cannot be kept now.",
    507: "The feedback file is full.",
}
NOTE = "Other paths are answered with 404, and other methods with 405, both with the schema Error."
UPLOAD: Schema = {
    "type": "object",
    "properties": {"image": {"type": "string", "contentMediaType": "application/octet-stream"}},
    "required": ["image"],
    "additionalProperties": False,
}
UPLOAD_ENCODING: Schema = {"image": {"contentType": "image/png, image/jpeg, image/webp, image/bmp"}}


def describe(manifest: Manifest, settings: Settings, *others: Manifest) -> Schema:
    """Return the OpenAPI 3.1 document of the service for its default model and the others."""
    models = [(model, "serialization") for model in (PredictResponse, PredictImageResponse, FeedbackResponse, Error)]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": f"ClustNet: {manifest.name}", "version": manifest.version, "description": NOTE},
        "servers": [{"url": "."}],
        "paths": {
            **_predictions((manifest, *others), settings),
            routes.FEEDBACK.path: _feedback(),
            **_pages(),
            **describe_protocol((manifest, *others), settings),
        },
        "components": {
            "schemas": schemas["$defs"],
            "headers": {
                "RequestId": {
                    "description": f"The request's own {REQUEST_ID}, or a new one.",
                    "schema": {"type": "string", "pattern": f"^{REQUEST_ID_PATTERN.pattern}$"},
                },
            },
            "parameters": {"RequestId": {"name": REQUEST_ID, "in": "header", "schema": {"type": "string"}}},
        },
    }
    for path, operations in document["paths"].items():
        for method in operations.keys() & {"get", "post"}:
            needed = needed_scope(path, settings.metrics_open) if settings.api_keys_file else None
            _complete(operations[method], ANY_REQUEST + ANY_BODY * (method == "post"), needed)
        if "get" in operations:
            operations["head"] = _head(operations["get"])
    if settings.api_keys_file:
        document["components"]["securitySchemes"] = SECURITY_SCHEMES
    return document


def _predictions(manifests: Sequence[Manifest], settings: Settings) -> Schema:
    shapes = shapes_of(manifests)
    limit = f"At most {settings.max_body_bytes} bytes."
    return {
        routes.PREDICT.path: _post(
            "Predict the coarse label, the expert and the class of each image.",
            {JSON: {"schema": _images(shapes, settings.max_images)}},
            limit,
            "PredictResponse",
        ),
        routes.PREDICT_IMAGE.path: _post(
            "Prepare an image file as the model's training images were, and predict it.",
            {"multipart/form-data": {"schema": UPLOAD, "encoding": UPLOAD_ENCODING}},
            limit,
            "PredictImageResponse",
        ),
    }


def _feedback() -> Schema:
    # Inline, because it is used only once; it is the schema of the request, not of the answer.
    body = {"required": True, "content": {JSON: {"schema": FeedbackRequest.model_json_schema()}}}
    responses = {"200": _answer("The feedback is kept.", JSON, "FeedbackResponse")}
    responses |= {str(status): _answer(text, JSON, "Error") for status, text in (ERRORS | FEEDBACK_FAULTS).items()}
    summary = "Give the true class of an image that was answered."
    return {"post": {"summary": summary, "requestBody": body, "responses": responses}}


def _pages() -> Schema:
    """Describe what is requested with GET."""
    files: Schema = {
        media_type: {} for media_type in ("text/javascript", "text/css", "text/html", "image/png", "image/svg+xml")
    }
    file = _get("A file of the web page.", TEXT, NO_FILE)
    file["get"]["responses"]["200"]["content"] = files
    file["get"]["responses"]["304"] = {
        "description": "The file has not changed since the version in the request's If-None-Match."
    }
    names = {"enum": sorted(path.name for path in STATIC.iterdir())}
    file["parameters"] = [{"name": "file", "in": "path", "required": True, "schema": names}]
    example = _of_a_model(_get("A typical training image of a subtype.", "image/jpeg", NO_EXAMPLE))
    counted = {"type": "integer", "minimum": 0}
    example["parameters"] += [
        {"name": name, "in": "path", "required": True, "schema": counted} for name in ("subtype", "number")
    ]
    ready = _get("The service is ready; otherwise the answer is 503 with the reason.", TEXT)
    ready["get"]["responses"]["503"] = _answer("The service is not ready, or it is stopping.", JSON, "Error")
    return {
        routes.PAGE.path: _get("The web page.", "text/html"),
        routes.STATIC_FILE.path: file,
        routes.MODEL_CARD.path: _of_a_model(_get("A model: manifest, scores, evaluation, examples.", JSON, NO_MODEL)),
        routes.EXAMPLE.path: example,
        routes.LIVE.path: _get("The process is alive.", TEXT),
        routes.HEALTH.path: _get("The process is alive.", TEXT),
        routes.READY.path: ready,
        routes.METRICS.path: _get("Metrics in Prometheus' text format.", TEXT),
        routes.DOCUMENT.path: _get("This document.", JSON),
        routes.BENTOML_SCHEMA.path: _get("The description that BentoML's clients read.", JSON),
    }


def _complete(operation: Schema, faults: Iterable[int], needed: str | None) -> None:
    """Add what all operations have: the request id, the faults of any request, and the API key, if one is needed."""
    responses: Schema = operation["responses"]
    for status in faults:
        responses.setdefault(str(status), _answer(ERRORS[status], JSON, "Error"))
    if needed:
        operation["security"] = [{scheme: [needed]} for scheme in SECURITY_SCHEMES]
        challenge = {"headers": {WWW_AUTHENTICATE: {"schema": {"type": "string"}}}}
        responses |= {str(status): _answer(text, JSON, "Error") | challenge for status, text in FAULTS.items()}
    for response in responses.values():
        response.setdefault("headers", {})[REQUEST_ID] = {"$ref": "#/components/headers/RequestId"}
    operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/RequestId"})


def _head(operation: Schema) -> Schema:
    """Describe the same request with HEAD, which is answered without a body."""
    responses = {
        status: {key: value for key, value in response.items() if key != "content"}
        for status, response in operation["responses"].items()
    }
    return operation | {"responses": responses}


def _images(shapes: Sequence[tuple[int, ...]], most: int) -> Schema:
    """Describe images of the shape that the models read, or of any of their shapes if they differ."""
    closed = {"additionalProperties": False}
    schemas = [object_of({"images": _images_of(shape, most)}) | closed for shape in shapes]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _images_of(shape: tuple[int, ...], most: int) -> Schema:
    schema: Schema = {"type": "number", "minimum": 0, "maximum": 255}
    for length in reversed(shape):
        schema = {"type": "array", "items": schema, "minItems": length, "maxItems": length}
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": most}


def _post(summary: str, content: Schema, limit: str, answer: str) -> Schema:
    responses = {"200": _answer("The prediction.", JSON, answer)}
    responses |= {str(status): _answer(text, JSON, "Error") for status, text in (ERRORS | NO_MODEL).items()}
    responses["503"]["headers"] = RETRY_HEADER.copy()
    body = {"required": True, "description": limit, "content": content}
    return _of_a_model({"post": {"summary": summary, "requestBody": body, "responses": responses}})


def _of_a_model(path: Schema) -> Schema:
    """Add the query parameters that choose a model to a path."""
    parameters = {"model": "The model's name; by default the first one.", "version": "By default the newest one."}
    schema = {"type": "string"}
    query = [{"name": name, "in": "query", "description": text, "schema": schema} for name, text in parameters.items()]
    return path | {"parameters": query}


def _get(summary: str, media_type: str, faults: dict[int, str] | None = None) -> Schema:
    responses = {"200": _answer("OK", media_type)}
    responses |= {str(status): _answer(text, JSON, "Error") for status, text in (faults or {}).items()}
    return {"get": {"summary": summary, "responses": responses}}


def _answer(description: str, media_type: str, model: str | None = None) -> Schema:
    media: Schema = {"schema": {"$ref": f"#/components/schemas/{model}"}} if model else {}
    return {"description": description, "content": {media_type: media}}
