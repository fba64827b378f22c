"""The answers to the protocol's calls; a call's body is its message, and so is the body of the answer."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message
from starlette.requests import Request
from starlette.responses import Response

from serving import routes
from serving.api.inference import compute, predict_kept
from serving.api.state import state_of
from serving.middleware.tracing import step
from serving.routes import Endpoint
from serving.rpc.fields import check_fields
from serving.rpc.messages import parameters, read_message, write_message
from serving.rpc.protocol import messages
from serving.v2 import handlers as v2
from serving.v2.handlers import change_models, check_key
from serving.v2.tensors import refusal

Handler = Callable[[Request], Awaitable[Response]]


async def show_ready(request: Request) -> Response:
    """Answer whether every model is ready."""
    return _answer(messages.ServerReadyResponse(ready=state_of(request).models.now.fault() is None))


async def show_model_ready(request: Request) -> Response:
    """Answer whether one model is ready."""
    message = await _read(request, messages.ModelReadyRequest)
    model = state_of(request).models.now.find(message.name, message.version or None)
    return _answer(messages.ModelReadyResponse(ready=model.fault is None))


def told(document: Handler, asked: type[Message], answer: type[Message], key: str | None = None) -> Handler:
    """Return a handler that answers a call with an HTTP handler's document, as the answer or as its field ``key``."""

    async def handle(request: Request) -> Response:
        message = await _read(request, asked)
        names = {name: getattr(message, name, "") for name in ("name", "version")}
        request.scope["path_params"] = {name: value for name, value in names.items() if value}
        found = json.loads(bytes((await document(request)).body))
        return _answer(ParseDict({key: found} if key else found, answer()))

    return handle


async def infer(request: Request) -> Response:
    """Answer an inference."""
    return await compute(request, _infer)


def _infer(request: Request, body: bytes) -> Response:
    with step("decode"):
        message = _parsed(messages.ModelInferRequest, body)
        model = state_of(request).models.now.find(message.model_name, message.model_version or None)
        model.check_ready()
        shape, most = model.manifest.input.shape, state_of(request).settings.max_images
        asked = read_message(message, shape, most, model.predictor.outputs)
    outputs = predict_kept(request, model.predictor, asked.images)
    with step("encode"):
        return _answer(write_message(asked, outputs, model.manifest))


async def show_index(request: Request) -> Response:
    """Answer with the models of the repository, or only those that are ready."""
    message = await _read(request, messages.RepositoryIndexRequest)
    rows = [row for row in state_of(request).models.now.index() if row["state"] == "READY" or not message.ready]
    return _answer(ParseDict({"models": rows}, messages.RepositoryIndexResponse()))


def changing(change: str, asked: type[Message], answer: type[Message]) -> Handler:
    """Return a handler for calls that change what is served, with the method of ``Models`` named ``change``."""

    async def handle(request: Request) -> Response:
        check_key(request)
        message = await _read(request, asked)
        change_now = getattr(state_of(request).models, change)
        await change_models(change_now, message.model_name, parameters(message.parameters))
        return _answer(answer())

    return handle


HANDLERS: dict[Endpoint, Handler] = {
    routes.RPC_LIVE: told(v2.show_live, messages.ServerLiveRequest, messages.ServerLiveResponse),
    routes.RPC_READY: show_ready,
    routes.RPC_SERVER: told(v2.show_server, messages.ServerMetadataRequest, messages.ServerMetadataResponse),
    routes.RPC_MODEL: told(v2.show_model, messages.ModelMetadataRequest, messages.ModelMetadataResponse),
    routes.RPC_MODEL_READY: show_model_ready,
    routes.RPC_STATISTICS: told(v2.show_statistics, messages.ModelStatisticsRequest, messages.ModelStatisticsResponse),
    routes.RPC_CONFIG: told(v2.show_config, messages.ModelConfigRequest, messages.ModelConfigResponse, "config"),
    routes.RPC_INFER: infer,
    routes.RPC_INDEX: show_index,
    routes.RPC_LOAD: changing("load", messages.RepositoryModelLoadRequest, messages.RepositoryModelLoadResponse),
    routes.RPC_UNLOAD: changing(
        "unload", messages.RepositoryModelUnloadRequest, messages.RepositoryModelUnloadResponse
    ),
}


async def _read(request: Request, kind: type[Message]) -> Any:
    """Return a call's message."""
    state = state_of(request)
    return _parsed(kind, await state.gate.body(request, state.settings.max_body_bytes))


def _parsed(kind: type[Message], body: bytes) -> Any:
    check_fields(body, kind.DESCRIPTOR)
    try:
        return kind.FromString(body)
    except DecodeError:
        fault = f"The message is no {kind.DESCRIPTOR.name}; use an HTTP library to write it."
        raise refusal("wrong_bytes", fault) from None


def _answer(message: Message) -> Response:
    return Response(message.SerializeToString(), media_type="application/grpc")
