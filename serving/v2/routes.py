"""The protocol's paths, as an application that is mounted beside the service's own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from clustnet.errors import UserError
from serving.api.compression import accepted_encoding, compress, decompress
from serving.api.inference import SMALL_BYTES, compute, predict_kept
from serving.api.responses import fail
from serving.headers import ACCEPT_ENCODING, CONTENT_ENCODING, HEADER_LENGTH, ID_NAME, KEY_NAME, Fields, header, kept_id
from serving.middleware.paths import explain, refuse
from serving.middleware.tracing import step
from serving.models.models import Catalogue, ServedModel
from serving.refusals import Refusal, quote
from serving.routes import (
    INDEX,
    INFER,
    INFER_VERSION,
    LOAD,
    MODEL,
    MODEL_READY,
    MODEL_VERSION,
    MODEL_VERSION_READY,
    PROTOCOL,
    PROTOCOL_LIVE,
    PROTOCOL_READY,
    SERVER,
    SERVER_SLASH,
    UNLOAD,
    Endpoint,
)
from serving.settings import Settings
from serving.v2.requests import InferRequest, read_object, read_request
from serving.v2.responses import model_metadata, server_metadata, write_response
from serving.v2.tensors import parameters_of, refusal

# Between looks whether another worker has loaded or unloaded a model.
LOOK_SECONDS = 1.0
# That a load may take before its answer; with its small body less than the service's deadline.
CHANGE_SECONDS = 25.0
# Parameters of Triton's that would replace the contents of a bundle's folder.
TRITON_OVERRIDES = ("config", "file:")

logger = logging.getLogger("bentoml.clustnet")


async def show_server(_: Request) -> Response:
    """Answer the server's name, version and extensions."""
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
    """Answer a model's inputs and outputs."""
    model = _model(request)
    versions = [other.manifest.version for other in reversed(_now(request).versions(model.manifest.name))]
    return JSONResponse(model_metadata(model.predictor, versions))


async def show_model_ready(request: Request) -> Response:
    """Answer whether one model is ready."""
    model = _model(request)
    model.check_ready()
    return JSONResponse({"name": model.manifest.name, "ready": True})


async def infer(request: Request) -> Response:
    """Answer an inference request; TakeTurns bounds how many are here at a time."""
    model = _model(request)
    model.check_ready()
    content = await request.body()
    small = len(content) <= SMALL_BYTES and header(request.scope["headers"], CONTENT_ENCODING) is None
    return await compute(small, request.is_disconnected, answer, model, content, request)


def answer(model: ServedModel, content: bytes, request: Request) -> Response:
    """Answer an inference request with this body; it computes, so call it in a thread."""
    with step("decode"):
        request_body = _read(model, content, request.scope["headers"], request.app.state.settings)
    name = kept_id(request.scope, request.scope.get(ID_NAME, ""))
    outputs = predict_kept(model.predictor, request_body.images, request.app.state.feedback, name)
    with step("encode"):
        written, fields = write_response(request_body, outputs, model.manifest)
        encoding = accepted_encoding(header(request.scope["headers"], ACCEPT_ENCODING) or "")
        if encoding:
            written, fields[CONTENT_ENCODING] = compress(written, encoding), encoding
        return Response(written, headers=fields)


def _read(model: ServedModel, content: bytes, fields: Fields, settings: Settings) -> InferRequest:
    body = _plain(content, fields, settings)
    shape, outputs = model.manifest.input.shape, model.predictor.outputs
    return read_request(body, header(fields, HEADER_LENGTH), shape, settings.max_images, outputs)


async def show_index(request: Request) -> Response:
    """Answer the models of the repository; with ``{"ready": true}`` only those that are ready."""
    document = await _document(request)
    rows = _now(request).index()
    if document.get("ready") is True:
        rows = [row for row in rows if row["state"] == "READY"]
    return JSONResponse(rows)


async def load(request: Request) -> Response:
    """Read a model's folders again and serve what they hold now; it is done when the answer comes."""
    return await _change(request, request.app.state.models.load)


async def unload(request: Request) -> Response:
    """Stop serving all versions of a model."""
    return await _change(request, request.app.state.models.unload)


async def _change(request: Request, change: Callable[[str], None]) -> Response:
    """Change what is served, in a thread; one change at a time, and the others wait."""
    # Access, which checks the key's scope, is part of the service only with a file of keys.
    if KEY_NAME not in request.scope:
        message = (
            "Models are loaded and unloaded only with an API key of the scope 'admin', and this service has no keys"
        )
        raise Refusal(403, "no_keys_set", f"{message}; set CLUSTNET_API_KEYS_FILE.")
    _check_change(parameters_of(await _document(request), "The request"))
    name = request.path_params["name"]
    try:
        await _in_time(to_thread.run_sync(change, name, limiter=request.app.state.changes), name, request.app.state)
    except Refusal:
        raise
    except UserError as error:
        raise Refusal(400, "bad_bundle", str(error)) from None
    versions = _now(request).models.get(name, ())
    return JSONResponse({"name": name, "versions": [model.manifest.version for model in reversed(versions)]})


async def _in_time(change: Coroutine[Any, Any, None], name: str, state: State) -> None:
    """Wait for a change, which nothing can stop; refuse where it takes longer than a request may, and let it go on."""
    task = asyncio.create_task(change)
    state.under_way.add(task)
    task.add_done_callback(state.under_way.discard)
    try:
        await asyncio.wait({task}, timeout=CHANGE_SECONDS)
    finally:
        # The service's deadline may end the wait, too.
        if not task.done():
            task.add_done_callback(partial(_log_late, name))
    if not task.done():
        message = f"The change of {quote(name)} takes over {CHANGE_SECONDS:g} seconds and goes on; see {INDEX.path}."
        raise Refusal(504, "too_slow", message)
    task.result()


def _log_late(name: str, task: "asyncio.Task[None]") -> None:
    """Log the end of a change whose client has its answer already."""
    if task.cancelled():
        return
    fault = task.exception()
    if fault:
        logger.error("The change of the model %s failed: %s", name, fault)
    else:
        logger.warning("The change of the model %s took over %g seconds.", name, CHANGE_SECONDS)


def _check_change(parameters: dict[str, Any]) -> None:
    for name in parameters:
        if name.startswith(TRITON_OVERRIDES):
            message = f"The parameter {quote(name)} is not supported; a model is what its bundle's folder holds."
            raise refusal("wrong_keys", message)


async def _document(request: Request) -> dict[str, Any]:
    """Return the JSON object of the body, empty without a body."""
    content = await request.body()
    fields, settings = request.scope["headers"], request.app.state.settings

    def read() -> dict[str, Any]:
        plain = _plain(content, fields, settings)
        return read_object(plain) if plain.strip() else {}

    # In a thread, as it may be large.
    return await to_thread.run_sync(read) if content else {}


def _plain(content: bytes, fields: Fields, settings: Settings) -> bytes:
    """Return a body without its Content-Encoding."""
    return decompress(content, header(fields, CONTENT_ENCODING) or "", settings.max_body_bytes)


def _now(request: Request) -> Catalogue:
    """Return the models as they are at this moment."""
    now: Catalogue = request.app.state.models.now
    return now


def _model(request: Request) -> ServedModel:
    """Return the model that the path names, in the version that it names or else the newest."""
    return _now(request).find(request.path_params["name"], request.path_params.get("version"))


ANSWERS: dict[Endpoint, Callable[[Request], Awaitable[Response]]] = {
    SERVER_SLASH: show_server,
    PROTOCOL_LIVE: show_live,
    PROTOCOL_READY: show_ready,
    MODEL: show_model,
    MODEL_VERSION: show_model,
    MODEL_READY: show_model_ready,
    MODEL_VERSION_READY: show_model_ready,
    INFER: infer,
    INFER_VERSION: infer,
    INDEX: show_index,
    LOAD: load,
    UNLOAD: unload,
}


@asynccontextmanager
async def following(application: Starlette) -> AsyncIterator[None]:
    """Follow, as long as the service runs, what other workers load and unload."""
    task = asyncio.create_task(_follow(application.state))
    try:
        yield
    finally:
        task.cancel()


async def _follow(state: State) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if state.models.behind():
            await to_thread.run_sync(state.models.follow, limiter=state.changes)


def application() -> Starlette:
    """Return the protocol's application; it answers once its ``state`` has ``models`` and ``settings``."""
    routes = [
        Route(endpoint.path.removeprefix(PROTOCOL), answer, methods=list(endpoint.methods))
        for endpoint, answer in ANSWERS.items()
    ]
    made = Starlette(
        routes=[Route(SERVER.path, show_server), Mount(PROTOCOL, Router(routes, redirect_slashes=False))],
        exception_handlers={Refusal: refuse, HTTPException: explain, Exception: fail},  # type: ignore[dict-item]
        lifespan=following,
    )
    made.state.feedback = None
    # Changes that go on: the event loop forgets tasks that nobody holds.
    made.state.under_way = set()
    # The thread of changes, beside the one that computes, so that no request waits for a load.
    made.state.changes = CapacityLimiter(1)
    return made


protocol = application()
