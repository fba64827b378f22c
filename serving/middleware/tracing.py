"""OpenTelemetry traces, off unless one of its standard variables turns them on.

They cost nothing when they are off, because the middleware is then left out.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, get_current_span
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import clustnet
from clustnet.errors import UserError
from serving.headers import REQUEST_ID
from serving.routes import ENDPOINTS, METRICS, OTHER, STATIC_FILE, route_of

EXPORTERS = "OTEL_TRACES_EXPORTER"
COLLECTORS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# The first that is set counts.
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
OFF = "OTEL_SDK_DISABLED"
METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"])
# Paths that are not traced: what probes and scrapers request every few seconds, and the page.
UNTRACED = {METRICS.path, *(endpoint.path for endpoint in ENDPOINTS if endpoint.scope is None)} - {STATIC_FILE.path}
NO_SPAN = nullcontext()


def exporter_names() -> list[str]:
    """Return the exporters that the environment asks for, any of ``otlp`` and ``console``.

    By default it is ``otlp`` if the address of a collector is set, and none otherwise.

    Raises:
        UserError: the environment names another exporter, or a protocol other than OTLP over HTTP.
    """
    chosen = os.environ.get(EXPORTERS, "").strip() or ("otlp" if any(map(os.environ.get, COLLECTORS)) else "none")
    names = [name.strip() for name in chosen.split(",")]
    for name in names:
        if name not in ("otlp", "console", "none"):
            raise UserError(f"{EXPORTERS} is {chosen!r}; set it to otlp, console or none.")
    if os.environ.get(OFF, "").strip().lower() == "true" or "none" in names:
        return []
    if "otlp" in names:
        _check_protocol()
    return names


def new_provider() -> TracerProvider:
    """Return a provider that exports spans in a thread of its own, to where the environment says."""
    named = Resource.create({SERVICE_NAME: "clustnet", SERVICE_VERSION: clustnet.__version__})
    provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
    for name in exporter_names():
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    return provider


class Tracing:
    """ASGI middleware that traces each request, as a child of the span that its ``traceparent`` names.

    A span holds the pattern that the path matches and not the path itself, because a client can write anything into it.

    Args:
        app: the application.
        provider: returns the provider of all spans, those of ``step`` included.
    """

    # The process' tracer; None if nothing is traced.
    now: ClassVar[Tracer | None] = None
    # Exports what is left; no span can follow.
    finish: ClassVar[Callable[[], None]] = staticmethod(lambda: None)

    def __init__(self, app: ASGIApp, provider: Callable[[], TracerProvider] = new_provider) -> None:
        self.app = app
        made = provider()
        self.tracer = Tracing.now = made.get_tracer("clustnet", clustnet.__version__)
        Tracing.finish = staticmethod(made.shutdown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self.app(scope, receive, send)
            return
        route = route_of(scope["path"])
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": scope["scheme"]}
        attributes |= {} if route == OTHER else {"http.route": route}
        name = " ".join([method.replace("_OTHER", "HTTP"), *([] if route == OTHER else [route])])
        context = extract(Headers(scope=scope))
        with self.tracer.start_as_current_span(name, context, SpanKind.SERVER, attributes) as span:
            await self.app(scope, receive, _observing(send, span))


def step(name: str) -> AbstractContextManager[Span | None]:
    """Return a context manager for a child of the request's span; it yields None if nothing is traced."""
    # A request that the sampler leaves out records nothing.
    if Tracing.now is None or not get_current_span().is_recording():
        return NO_SPAN
    return Tracing.now.start_as_current_span(name)


def _observing(send: Send, span: Span) -> Send:
    """Return a ``send`` that writes the answer's status and request id to the request's span."""

    async def observing(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set_attribute("http.response.status_code", status)
            span.set_attribute("clustnet.request_id", Headers(raw=message["headers"]).get(REQUEST_ID, ""))
            if status >= 500:
                span.set_attribute("error.type", str(status))
                span.set_status(StatusCode.ERROR)
        await send(message)

    return observing


def _check_protocol() -> None:
    name, protocol = next(((name, os.environ[name]) for name in PROTOCOLS if os.environ.get(name)), ("", PROTOCOL))
    if protocol != PROTOCOL:
        raise UserError(f"{name} is {protocol!r}; set it to {PROTOCOL}, the only one that this service has.")


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter()
    # Imported only if it is used, because the import is slow.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
