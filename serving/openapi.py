"""The OpenAPI document; BentoML's own cannot tell the limits and the errors."""

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from clustnet.bundle import Manifest
from clustnet.settings import Settings
from serving.access import API_KEY, FAULTS, needed_scope
from serving.responses import ERRORS, Error, PredictImageResponse, PredictResponse
from serving.v2.openapi import NO_MODEL, describe_protocol

Schema = dict[str, Any]


def describe(manifest: Manifest, settings: Settings, *others: Manifest) -> Schema:
    """Return the OpenAPI 3.1 document of the service for its default model and the others."""
    shapes = list(dict.fromkeys(model.input.shape for model in (manifest, *others)))
    models = [(model, "serialization") for model in (PredictResponse, PredictImageResponse, Error)]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    limit = f"At most {settings.max_body_bytes} bytes."
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": f"ClustNet: {manifest.name}", "version": manifest.version},
        "servers": [{"url": "."}],
        "paths": {
            "/predict": _post(
                "Predict the coarse label, the expert and the fine class of each image.",
                {"application/json": {"schema": _images(shapes, settings.max_images)}},
                limit,
                "PredictResponse",
            ),
            "/predict_image": _post(
                "Prepare an image file as the model's training images were, and predict it.",
                {"multipart/form-data": {"schema": _upload(), "encoding": _UPLOAD_ENCODING}},
                limit,
                "PredictImageResponse",
            ),
            "/": _get("The web page.", "text/html"),
            "/model.json": _of_a_model(
                _get("A model: manifest, scores and the evaluation it carries.", "application/json", NO_MODEL)
            ),
            "/livez": _get("The process is alive.", "text/plain"),
            "/readyz": _get(
                "The service is ready; else 503 and the reason.", "text/plain", {503: "The service is not ready."}
            ),
            "/metrics": _get("Metrics in Prometheus' text format.", "text/plain"),
            "/docs.json": _get("This document.", "application/json"),
            **describe_protocol(shapes, settings),
        },
        "components": {"schemas": schemas["$defs"]},
    }
    return _with_keys(document, settings.metrics_open) if settings.api_keys_file else document


SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": API_KEY},
}
_UPLOAD_ENCODING = {"image": {"contentType": "image/png, image/jpeg, image/webp, image/bmp"}}


def _with_keys(document: Schema, metrics_open: bool) -> Schema:
    """Add the API keys to the paths that need one."""
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    for path, operations in document["paths"].items():
        needed = needed_scope(path, metrics_open)
        for operation in (operations[method] for method in ("get", "post") if needed and method in operations):
            operation["security"] = [{scheme: [needed]} for scheme in SECURITY_SCHEMES]
            operation["responses"] |= {str(status): _refusal(text) for status, text in FAULTS.items()}
    return document


def _refusal(description: str) -> Schema:
    headers = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return _answer(description, "application/json", "Error") | {"headers": headers}


def _images(shapes: Sequence[tuple[int, ...]], most: int) -> Schema:
    """Describe images of the one shape that the models read, or of any of theirs."""
    schemas = [_object({"images": _images_of(shape, most)}) for shape in shapes]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _images_of(shape: tuple[int, ...], most: int) -> Schema:
    schema: Schema = {"type": "number", "minimum": 0, "maximum": 255}
    for length in reversed(shape):
        schema = {"type": "array", "items": schema, "minItems": length, "maxItems": length}
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": most}


def _upload() -> Schema:
    return _object({"image": {"type": "string", "contentMediaType": "application/octet-stream"}})


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _post(summary: str, content: Schema, limit: str, answer: str) -> Schema:
    responses = {"200": _answer("The prediction.", "application/json", answer)}
    responses |= {str(status): _answer(text, "application/json", "Error") for status, text in ERRORS.items()}
    responses |= {str(status): _answer(text, "application/json", "Error") for status, text in NO_MODEL.items()}
    body = {"required": True, "description": limit, "content": content}
    return _of_a_model({"post": {"summary": summary, "requestBody": body, "responses": responses}})


def _of_a_model(path: Schema) -> Schema:
    """Add the query's choice of a model to a path."""
    parameters = {"model": "The model's name; by default the first one.", "version": "By default the newest one."}
    schema = {"type": "string"}
    query = [{"name": name, "in": "query", "description": text, "schema": schema} for name, text in parameters.items()]
    return path | {"parameters": query}


def _get(summary: str, media_type: str, faults: dict[int, str] | None = None) -> Schema:
    responses = {"200": _answer("OK", media_type)}
    responses |= {str(status): _answer(text, media_type) for status, text in (faults or {}).items()}
    return {"get": {"summary": summary, "responses": responses}}


def _answer(description: str, media_type: str, model: str | None = None) -> Schema:
    schema: Schema = {"$ref": f"#/components/schemas/{model}"} if model else {}
    return {"description": description, "content": {media_type: {"schema": schema}}}
