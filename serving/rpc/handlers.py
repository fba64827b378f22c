"""The answers to the protocol's calls; a call's body is its message, and so is the body of the answer."""

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
from serving.models.catalogue import Catalogue, ServedModel
from serving.routes import Endpoint
from serving.rpc.messages import parameters, read_message, write_message
from serving.rpc.protocol import messages
from serving.v2.handlers import change_models, check_key
from serving.v2.responses import model_config, model_metadata, server_metadata, statistics_of
from serving.v2.tensors import refusal


async def show_live(_: Request) -> Response:
    """Answer that the process is alive."""
    return _answer(messages.ServerLiveResponse(live=True))


async def show_ready(request: Request) -> Response:
    """Answer whether every model is ready."""
    return _answer(messages.ServerReadyResponse(ready=_now(request).fault() is None))


async def show_server(_: Request) -> Response:
    """Answer the server's name, version and extensions."""
    return _answer(ParseDict(server_metadata(), messages.ServerMetadataResponse()))


async def show_model(request: Request) -> Response:
    """Answer a model's inputs and outputs."""
    model = _model(request, await _read(request, messages.ModelMetadataRequest))
    versions = [other.manifest.version for other in reversed(_now(request).versions(model.manifest.name))]
    return _answer(ParseDict(model_metadata(model.predictor, versions), messages.ModelMetadataResponse()))


async def show_model_ready(request: Request) -> Response:
    """Answer whether one model is ready."""
    model = _model(request, await _read(request, messages.ModelReadyRequest))
    return _answer(messages.ModelReadyResponse(ready=model.fault is None))


async def show_config(request: Request) -> Response:
    """Answer a model's configuration."""
    model = _model(request, await _read(request, messages.ModelConfigRequest))
    config = model_config(model.predictor, state_of(request).settings.max_images)
    return _answer(ParseDict({"config": config}, messages.ModelConfigResponse()))


async def show_statistics(request: Request) -> Response:
    """Answer what a model has answered since the start, or all of them where the message names none."""
    message = await _read(request, messages.ModelStatisticsRequest)
    models = [_model(request, message)] if message.name else _now(request).all()
    statistics = statistics_of(model.manifest for model in models)
    return _answer(ParseDict(statistics, messages.ModelStatisticsResponse()))


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
    """Answer the models of the repository, or only those that are ready."""
    message = await _read(request, messages.RepositoryIndexRequest)
    rows = [row for row in _now(request).index() if row["state"] == "READY" or not message.ready]
    return _answer(ParseDict({"models": rows}, messages.RepositoryIndexResponse()))


async def load(request: Request) -> Response:
    """Read a model's folders again and serve what they hold now; it is done when the answer comes."""
    check_key(request)
    message = await _read(request, messages.RepositoryModelLoadRequest)
    await change_models(state_of(request).models.load, message.model_name, parameters(message.parameters))
    return _answer(messages.RepositoryModelLoadResponse())


async def unload(request: Request) -> Response:
    """Stop serving all versions of a model."""
    check_key(request)
    message = await _read(request, messages.RepositoryModelUnloadRequest)
    await change_models(state_of(request).models.unload, message.model_name, parameters(message.parameters))
    return _answer(messages.RepositoryModelUnloadResponse())


HANDLERS: dict[Endpoint, Callable[[Request], Awaitable[Response]]] = {
    routes.RPC_LIVE: show_live,
    routes.RPC_READY: show_ready,
    routes.RPC_SERVER: show_server,
    routes.RPC_MODEL: show_model,
    routes.RPC_MODEL_READY: show_model_ready,
    routes.RPC_STATISTICS: show_statistics,
    routes.RPC_CONFIG: show_config,
    routes.RPC_INFER: infer,
    routes.RPC_INDEX: show_index,
    routes.RPC_LOAD: load,
    routes.RPC_UNLOAD: unload,
}


def _now(request: Request) -> Catalogue:
    return state_of(request).models.now


def _model(request: Request, message: Any) -> ServedModel:
    """Return the model that a message names, in the version that it names or else the newest."""
    return _now(request).find(message.name, message.version or None)


async def _read(request: Request, kind: type[Message]) -> Any:
    """Return a call's message."""
    state = state_of(request)
    return _parsed(kind, await state.gate.body(request, state.settings.max_body_bytes))


def _parsed(kind: type[Message], body: bytes) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError:
        raise refusal(
            "wrong_bytes", f"The message is no {kind.DESCRIPTOR.name}; let a client's library write it."
        ) from None


def _answer(message: Message) -> Response:
    return Response(message.SerializeToString(), media_type="application/grpc")
