"""The protocol's paths, as an application that is mounted beside the service's own."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from clustnet.predictor import Predictor
from serving.inference import predict_counted
from serving.inputs import quote
from serving.metrics import refused
from serving.paths import explain
from serving.refusals import Refusal
from serving.responses import ERRORS
from serving.v2.compression import accepted_encoding, compress, decompress
from serving.v2.requests import HEADER_LENGTH, read_object, read_request
from serving.v2.responses import model_metadata, server_metadata, write_response

INFER = {"/v2/models/{name}/infer": re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer")}  # for the metrics
PROTOCOL = "/v2"
INDEX = "/v2/repository/index"


@dataclass(frozen=True)
class ServedModel:
    """A model and the limits of its requests.

    Args:
        predictor: answers; its manifest names the model.
        fault: why the model is not ready, None where it is.
        max_images: the most images in one request.
        max_body_bytes: the largest body, packed or not.
    """

    predictor: Predictor
    fault: str | None
    max_images: int
    max_body_bytes: int

    def check_ready(self) -> None:
        """Refuse with 503 while the model is not ready."""
        if self.fault:
            raise Refusal(503, "not_ready", self.fault)

    def infer(self, content: bytes, headers: Headers) -> Response:
        """Answer an inference request; it computes, so call it in a thread."""
        manifest = self.predictor.manifest
        body = decompress(content, headers.get("content-encoding", ""), self.max_body_bytes)
        request = read_request(body, headers.get(HEADER_LENGTH), manifest.input.shape, self.max_images)
        answer, fields = write_response(request, predict_counted(self.predictor, request.images), manifest)
        encoding = accepted_encoding(headers.get("accept-encoding", ""))
        if encoding:
            answer, fields["content-encoding"] = compress(answer, encoding), encoding
        return Response(answer, headers=fields)


async def show_server(_: Request) -> Response:
    """Answer the server's name, version and extensions."""
    return JSONResponse(server_metadata())


async def show_live(_: Request) -> Response:
    """Answer that the process is alive."""
    return JSONResponse({"live": True})


async def show_ready(request: Request) -> Response:
    """Answer whether every model is ready."""
    _served(request).check_ready()
    return JSONResponse({"ready": True})


async def show_model(request: Request) -> Response:
    """Answer a model's inputs and outputs."""
    return JSONResponse(model_metadata(_model(request).predictor.manifest))


async def show_model_ready(request: Request) -> Response:
    """Answer whether one model is ready."""
    model = _model(request)
    model.check_ready()
    return JSONResponse({"name": model.predictor.manifest.name, "ready": True})


async def infer(request: Request) -> Response:
    """Answer an inference request, in a thread; TakeTurns sees to it that not too many are here."""
    model = _model(request)
    model.check_ready()
    content = await request.body()
    limiter: CapacityLimiter = request.app.state.limiter
    return await to_thread.run_sync(model.infer, content, request.headers, limiter=limiter)


async def show_index(request: Request) -> Response:
    """Answer the models of the repository; with ``{"ready": true}`` only those that are ready."""
    content = await request.body()
    document = await to_thread.run_sync(read_object, content) if content.strip() else {}  # it may be large
    only_ready = document.get("ready")
    model = _served(request)
    if model.fault and only_ready is True:
        return JSONResponse([])
    manifest = model.predictor.manifest
    state = {"state": "UNAVAILABLE" if model.fault else "READY", "reason": model.fault or ""}
    return JSONResponse([{"name": manifest.name, "version": manifest.version, **state}])


def _served(request: Request) -> ServedModel:
    """Return the model, which the service stores once it is loaded."""
    model: ServedModel = request.app.state.model
    return model


def _model(request: Request) -> ServedModel:
    """Return the model that the path names, and its version, if it names one."""
    model = _served(request)
    manifest = model.predictor.manifest
    name, version = request.path_params["name"], request.path_params.get("version", manifest.version)
    if name != manifest.name:
        raise Refusal(404, "unknown_model", f"There is no model {quote(name)}; this service has '{manifest.name}'.")
    if version != manifest.version:
        message = f"'{name}' has no version {quote(version)}; this service has '{manifest.version}'."
        raise Refusal(404, "unknown_model", message)
    return model


async def refuse(_: Request, refusal: Refusal) -> Response:
    """Answer a ``Refusal`` with its reason."""
    return refused(refusal)


async def fail(_: Request, __: Exception) -> Response:
    """Answer a fault of this program, which Starlette raises again for the log."""
    return JSONResponse({"error": ERRORS[500]}, 500)


def _at_model(path: str, endpoint: Callable[..., Any], method: str) -> list[Route]:
    """Return the routes of one path below a model, without and with its version."""
    models = ("/models/{name}", "/models/{name}/versions/{version}")
    return [Route(model + path, endpoint, methods=[method]) for model in models]


ROUTES = [
    Route("/", show_server),
    Route("/health/live", show_live),
    Route("/health/ready", show_ready),
    *_at_model("", show_model, "GET"),
    *_at_model("/ready", show_model_ready, "GET"),
    *_at_model("/infer", infer, "POST"),
    Route(INDEX.removeprefix("/v2"), show_index, methods=["POST"]),
]
PROTOCOL_PATHS = ["/v2", *(f"/v2{route.path}" for route in ROUTES)]
paths = Router(ROUTES, redirect_slashes=False)


def application() -> Starlette:
    """Return the protocol's application; it answers once its ``state.model`` is a ``ServedModel``."""
    made = Starlette(
        routes=[Route("/v2", show_server), Mount("/v2", paths)],
        exception_handlers={Refusal: refuse, HTTPException: explain, Exception: fail},  # type: ignore[dict-item]
    )
    made.state.limiter = CapacityLimiter(1)  # one computes at a time, as BentoML does with its own endpoints
    return made


protocol = application()
