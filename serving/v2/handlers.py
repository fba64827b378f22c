"""The answers to the protocol's requests."""

import asyncio
from collections.abc import Callable
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clustnet.errors import UserError
from serving.api.compression import accepted_encoding, compress
from serving.api.inference import compute, predict_kept, unpacked
from serving.api.state import state_of
from serving.headers import ACCEPT_ENCODING, CONTENT_ENCODING, HEADER_LENGTH, KEY_NAME, header
from serving.middleware.tracing import step
from serving.models.catalogue import Catalogue, ServedModel
from serving.refusals import Refusal, quote
from serving.routes import INDEX
from serving.v2.requests import read_object, read_request
from serving.v2.responses import model_config, model_metadata, server_metadata, statistics_of, write_response
from serving.v2.tensors import parameters_of, refusal

# How long a load or an unload may take; with the time for its small body, less than the service's deadline.
CHANGE_SECONDS = 25.0
# Triton's parameters that would replace the contents of a bundle's folder.
TRITON_OVERRIDES = ("config", "file:")


async def show_server(_: Request) -> Response:
    """Answer with the server's name, version and extensions."""
    return JSONResponse(server_metadata())


async def show_live(_: Request) -> Response:
    """Answer that the process is alive."""
    return JSONResponse({"live": True})


async def show_ready(request: Request) -> Response:
    """Answer whether every model is ready."""
    for model in _now(request).all():
        model.check_ready()
    return JSONResponse({"ready": True})


async def show_model(request: Request) -> Response:
    """Answer with a model's inputs and outputs."""
    model = _model(request)
    versions = [other.manifest.version for other in reversed(_now(request).versions(model.manifest.name))]
    return JSONResponse(model_metadata(model.predictor, versions))


async def show_model_ready(request: Request) -> Response:
    """Answer whether one model is ready."""
    model = _model(request)
    model.check_ready()
    return JSONResponse({"name": model.manifest.name, "ready": True})


async def show_config(request: Request) -> Response:
    """Answer with a model's configuration."""
    return JSONResponse(model_config(_model(request).predictor, state_of(request).settings.max_images))


async def show_statistics(request: Request) -> Response:
    """Answer with the statistics of a model since the start, or of all models if the path names none."""
    models = [_model(request)] if request.path_params else _now(request).all()
    return JSONResponse(statistics_of(model.manifest for model in models))


async def infer(request: Request) -> Response:
    """Answer an inference request."""
    model = _model(request)
    model.check_ready()
    return await compute(request, _answer, model)


def _answer(request: Request, body: bytes, model: ServedModel) -> Response:
    fields = request.scope["headers"]
    with step("decode"):
        shape, most = model.manifest.input.shape, state_of(request).settings.max_images
        asked = read_request(
            unpacked(request, body), header(fields, HEADER_LENGTH), shape, most, model.predictor.outputs
        )
    outputs = predict_kept(request, model.predictor, asked.images)
    with step("encode"):
        written, answer_fields = write_response(asked, outputs, model.manifest)
        encoding = accepted_encoding(header(fields, ACCEPT_ENCODING) or "")
        if encoding:
            written, answer_fields[CONTENT_ENCODING] = compress(written, encoding), encoding
        return Response(written, headers=answer_fields)


async def show_index(request: Request) -> Response:
    """Answer with the models of the repository; for ``{"ready": true}`` only with those that are ready."""
    return await compute(request, _index, small_bytes=0)


def _index(request: Request, body: bytes) -> Response:
    rows = _now(request).index()
    if _document(request, body).get("ready") is True:
        rows = [row for row in rows if row["state"] == "READY"]
    return JSONResponse(rows)


async def load(request: Request) -> Response:
    """Read a model's folders again and serve what they hold now; it is done when the answer comes."""
    return await _change(request, state_of(request).models.load)


async def unload(request: Request) -> Response:
    """Stop serving all versions of a model."""
    return await _change(request, state_of(request).models.unload)


async def _change(request: Request, change: Callable[[str], None]) -> Response:
    check_key(request)
    name = request.path_params["name"]
    body = await state_of(request).gate.body(request, state_of(request).settings.max_body_bytes)
    document = await to_thread.run_sync(_document, request, body)
    await change_models(change, name, parameters_of(document, "The request"))
    versions = _now(request).models.get(name, ())
    return JSONResponse({"name": name, "versions": [model.manifest.version for model in reversed(versions)]})


def check_key(request: Request) -> None:
    """Refuse to change what is served if the service has no keys."""
    # Access, which checks the key's scope, is part of the service only with a file of keys.
    if KEY_NAME not in request.scope:
        message = (
            "Models are loaded and unloaded only with an API key of the scope 'admin', and this service has no keys"
        )
        raise Refusal(403, "no_keys_set", f"{message}; set CLUSTNET_API_KEYS_FILE.")


async def change_models(change: Callable[[str], None], name: str, parameters: dict[str, Any]) -> None:
    """Load or unload a model in a thread; other changes wait meanwhile."""
    _check_change(parameters)
    try:
        async with asyncio.timeout(CHANGE_SECONDS):
            await to_thread.run_sync(change, name, abandon_on_cancel=True)
    except TimeoutError:
        message = (
            f"The change of {quote(name)} takes over {CHANGE_SECONDS:g} seconds and is still running; see {INDEX.path}."
        )
        raise Refusal(504, "too_slow", message) from None
    except Refusal:
        raise
    except UserError as error:
        raise Refusal(400, "bad_bundle", str(error)) from None


def _check_change(parameters: dict[str, Any]) -> None:
    for name in parameters:
        if name.startswith(TRITON_OVERRIDES):
            message = f"The parameter {quote(name)} is not supported; a model is what its bundle's folder holds."
            raise refusal("wrong_keys", message)


def _document(request: Request, body: bytes) -> dict[str, Any]:
    """Return the JSON object of the body, empty without a body."""
    plain = unpacked(request, body)
    return read_object(plain) if plain.strip() else {}


def _now(request: Request) -> Catalogue:
    """Return the models that are served now."""
    return state_of(request).models.now


def _model(request: Request) -> ServedModel:
    """Return the model that the path names, in the version that the path names or else the newest."""
    return _now(request).find(request.path_params["name"], request.path_params.get("version"))
