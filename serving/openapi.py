"""The OpenAPI document; BentoML's own cannot tell the limits and the errors."""

from typing import Any

from pydantic.json_schema import models_json_schema

from clustnet.bundle import Manifest
from clustnet.settings import Settings
from serving.access import API_KEY, FAULTS, needed_scope
from serving.responses import ERRORS, Error, PredictImageResponse, PredictResponse
from serving.v2.openapi import describe_protocol

Schema = dict[str, Any]


def describe(manifest: Manifest, settings: Settings) -> Schema:
    """Return the OpenAPI 3.1 document of the service for one bundle."""
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
                {"application/json": {"schema": _images(manifest.input.shape, settings.max_images)}},
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
            "/model.json": _get("The model: manifest, scores and the evaluation it carries.", "application/json"),
            "/livez": _get("The process is alive.", "text/plain"),
            "/readyz": _get(
                "The service is ready; else 503 and the reason.", "text/plain", {503: "The service is not ready."}
            ),
            "/metrics": _get("Metrics in Prometheus' text format.", "text/plain"),
            "/docs.json": _get("This document.", "application/json"),
            **describe_protocol(manifest, settings),
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


def _images(shape: tuple[int, ...], most: int) -> Schema:
    schema: Schema = {"type": "number", "minimum": 0, "maximum": 255}
    for length in reversed(shape):
        schema = {"type": "array", "items": schema, "minItems": length, "maxItems": length}
    images = {"type": "array", "items": schema, "minItems": 1, "maxItems": most}
    return _object({"images": images})


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
    body = {"required": True, "description": limit, "content": content}
    return {"post": {"summary": summary, "requestBody": body, "responses": responses}}


def _get(summary: str, media_type: str, faults: dict[int, str] | None = None) -> Schema:
    responses = {"200": _answer("OK", media_type)}
    responses |= {str(status): _answer(text, media_type) for status, text in (faults or {}).items()}
    return {"get": {"summary": summary, "responses": responses}}


def _answer(description: str, media_type: str, model: str | None = None) -> Schema:
    schema: Schema = {"$ref": f"#/components/schemas/{model}"} if model else {}
    return {"description": description, "content": {media_type: {"schema": schema}}}
