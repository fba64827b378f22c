"""The service as an ASGI application: ``build_app(settings)``; a process may have any number of them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving import routes
from serving.api import pages, predict
from serving.api.feedback import give_feedback
from serving.api.feedback_store import FeedbackStore
from serving.api.state import State
from serving.gate import GATE, ORIGINS, Gate
from serving.headers import HOST, field_name
from serving.keys.access import Access, needed_scope
from serving.keys.key_file import KeyFile
from serving.metrics.drift import Watch
from serving.metrics.metrics import DEFERRED, announce, refused
from serving.middleware.cors import cors_options
from serving.middleware.deadline import Deadline
from serving.middleware.request_log import RequestLog
from serving.middleware.tracing import Tracing, exporter_names
from serving.models.catalogue import Catalogue
from serving.models.models import Models
from serving.openapi.service import describe
from serving.refusals import Refusal, unknown_path, wrong_method
from serving.routes import Endpoint, endpoint_of
from serving.settings import Settings
from serving.v2 import handlers as v2

DEADLINE_SECONDS = 30.0
# The most bytes of a request's path and headers together.
MAX_HEADER_BYTES = 64 * 1024
# nginx's status for a client that went away; nobody receives it.
CLIENT_GONE = 499
HOST_FIELD = field_name(HOST)

logger = logging.getLogger("bentoml.clustnet")

Handler = Callable[[Request], Awaitable[Response]]

HANDLERS: dict[Endpoint, Handler] = {
    routes.PREDICT: predict.predict,
    routes.PREDICT_IMAGE: predict.predict_image,
    routes.FEEDBACK: give_feedback,
    routes.PAGE: pages.show_page,
    routes.STATIC_FILE: pages.show_file,
    routes.MODEL_CARD: pages.show_model,
    routes.EXAMPLE: pages.show_example,
    routes.METRICS: pages.show_metrics,
    routes.DOCUMENT: pages.show_document,
    routes.LIVE: pages.show_health,
    routes.HEALTH: pages.show_health,
    routes.READY: pages.show_readiness,
    routes.SERVER: v2.show_server,
    routes.SERVER_SLASH: v2.show_server,
    routes.PROTOCOL_LIVE: v2.show_live,
    routes.PROTOCOL_READY: v2.show_ready,
    routes.MODEL: v2.show_model,
    routes.MODEL_VERSION: v2.show_model,
    routes.MODEL_READY: v2.show_model_ready,
    routes.MODEL_VERSION_READY: v2.show_model_ready,
    routes.STATISTICS: v2.show_statistics,
    routes.MODEL_STATISTICS: v2.show_statistics,
    routes.MODEL_VERSION_STATISTICS: v2.show_statistics,
    routes.MODEL_CONFIG: v2.show_config,
    routes.MODEL_VERSION_CONFIG: v2.show_config,
    routes.INFER: v2.infer,
    routes.INFER_VERSION: v2.infer,
    routes.INDEX: v2.show_index,
    routes.LOAD: v2.load,
    routes.UNLOAD: v2.unload,
}


def build_app(settings: Settings, more: Mapping[Endpoint, Handler] | None = None) -> Starlette:
    """Return the application that serves the bundles of these settings.

    Args:
        settings: the bundles, the device and the limits.
        more: handlers of further endpoints, such as those of the server that runs the application.

    Raises:
        UserError: a bundle, the feedback file or a variable that configures tracing cannot be used.
    """
    app = Starlette(middleware=_middleware(settings), lifespan=_running)
    # Exact paths, as access control and metrics match them; Starlette's own routes also match a trailing line feed.
    handlers = HANDLERS | dict(more or {})
    if settings.grpc_port:
        # Imported only if it is used, because gRPC takes memory.
        from serving.rpc.handlers import HANDLERS as CALLS

        handlers |= CALLS
    app.router.default = Answers(handlers)
    app.state.service = _new_state(settings, handlers)
    return app


def _middleware(settings: Settings) -> list[Middleware]:
    """Return the middleware that a request passes through, from the outermost to the innermost."""
    keys = KeyFile(settings.api_keys_file) if settings.api_keys_file else None
    needs = partial(needed_scope, metrics_open=settings.metrics_open)
    return [
        *([Middleware(Tracing)] if exporter_names() else []),
        Middleware(RequestLog, which=settings.log_requests),
        # Outside everything that refuses requests, so that a page can read the reason.
        *([Middleware(CORSMiddleware, **cors_options(settings.cors_origins))] if settings.cors_origins else []),
        Middleware(Deadline, seconds=DEADLINE_SECONDS),
        *([Middleware(Access, keys=keys, needs=needs)] if keys else []),
    ]


class Answers:
    """The innermost application: answers each request with the handler of its path, and each refusal with its reason.

    Args:
        handlers: the handler of each endpoint.
    """

    def __init__(self, handlers: Mapping[Endpoint, Handler]) -> None:
        self.handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        try:
            answer = await self._handler(scope)(Request(scope, receive, send))
        except Refusal as refusal:
            answer = refused(refusal)
        except ClientDisconnect:
            answer = Response(status_code=CLIENT_GONE)
        await answer(scope, receive, send)

    def _handler(self, scope: Scope) -> Handler:
        _check_headers(scope)
        path, method = scope["path"], scope["method"]
        endpoint = endpoint_of(path)
        is_rpc = scope["http_version"] == "2"
        if endpoint is None or endpoint not in self.handlers or endpoint.rpc != is_rpc:
            raise unknown_path(path)
        if method not in endpoint.methods:
            raise wrong_method(path, method, endpoint.methods)
        scope["path_params"] = endpoint.parameters(path)
        return self.handlers[endpoint]


def _check_headers(scope: Scope) -> None:
    """Refuse faulty requests that the parsers let pass."""
    fields = scope["headers"]
    if len(scope["raw_path"]) + sum(len(name) + len(value) for name, value in fields) > MAX_HEADER_BYTES:
        raise Refusal(431, "wrong_headers", "The request's headers are over 64 KiB; send fewer or shorter headers.")
    hosts = sum(name == HOST_FIELD for name, _ in fields)
    # HTTP/1.0 may have none.
    if hosts > 1 or (not hosts and scope["http_version"] == "1.1"):
        raise Refusal(
            400,
            "wrong_headers",
            "The request has no Host header or several; send exactly one, with the name of this service.",
        )


def _new_state(settings: Settings, answered: Collection[Endpoint]) -> State:
    watch = Watch()
    feedback = FeedbackStore(settings.feedback, settings) if settings.feedback else None
    document: dict[str, Any] = {}

    def show(catalogue: Catalogue) -> None:
        """Show new models in the metrics and the OpenAPI document; without any model the document stays as it was."""
        models = catalogue.all()
        for fault in {model.fault for model in models if model.fault}:
            logger.error(fault)
        manifests = [model.manifest for model in models]
        for manifest in manifests:
            announce(manifest)
            if feedback:
                feedback.announce(manifest)
        watch.serve(manifests, settings.drift_window)
        if manifests:
            document.update(describe(manifests[0], settings, *manifests[1:]))
            for endpoint in set(routes.ENDPOINTS).difference(answered):
                document["paths"].pop(endpoint.path, None)

    return State(settings, Gate(), watch, feedback, Models(settings, show), document)


@asynccontextmanager
async def _running(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Run the background tasks as long as the application runs."""
    state: State = app.state.service
    jobs = [DEFERRED.run(), state.watch.run(), state.models.run()]
    if state.feedback:
        jobs.append(state.feedback.run())
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        async with AsyncExitStack() as stack:
            if state.settings.grpc_port:
                from serving.rpc.server import serving_rpc

                await stack.enter_async_context(serving_rpc(app, state))
            yield {GATE: state.gate, ORIGINS: state.settings.cors_origins}
    finally:
        for task in tasks:
            task.cancel()
        Tracing.finish()
        if state.feedback:
            state.feedback.close()
