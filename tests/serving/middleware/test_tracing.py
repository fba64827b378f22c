import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from clustnet.errors import UserError
from serving.middleware.tracing import NO_SPAN, Tracing, exporter_names, step
from tests.serving.images import drawing
from tests.serving.server import running_server
from tests.serving.v2.bodies import binary_body

IMAGES = np.random.default_rng(3).integers(0, 256, (2, 28, 28)).astype(np.uint8)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STATUS = "http.response.status_code"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Gets the spans of ``traced``."""
    monkeypatch.setattr(Tracing, "now", None)
    monkeypatch.setattr(Tracing, "finish", None)
    return InMemorySpanExporter()


@pytest.fixture
def traced(client: TestClient, spans: InMemorySpanExporter) -> TestClient:
    """The whole service under tracing, as it is where a variable asks for it."""
    return TestClient(tracing(client.app, spans), base_url="http://127.0.0.1")


def tracing(application: Any, spans: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(application, lambda: provider)


def family(spans: Sequence[ReadableSpan]) -> tuple[ReadableSpan, list[str]]:
    """Return the request's span and the names of the spans right under it."""
    *steps, request = spans
    assert request.context is not None
    for each in steps:
        assert each.context is not None
        assert each.parent is not None
        assert (each.parent.span_id, each.context.trace_id) == (request.context.span_id, request.context.trace_id)
    return request, [each.name for each in steps]


def call(client: TestClient | httpx.Client, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    if path == "/predict":
        return client.post(path, json={"images": IMAGES.tolist()}, headers=headers)
    if path == "/predict_image":
        return client.post(path, files={"image": ("a.png", drawing())}, headers=headers)
    body, more = binary_body(IMAGES)
    return client.post(path, content=body, headers=more | (headers or {}))


@pytest.mark.parametrize(
    ("path", "route", "images", "steps"),
    [
        ("/predict", "/predict", 2, ["decode", "infer", "encode"]),
        ("/predict_image", "/predict_image", 1, ["decode", "prepare", "infer", "encode"]),
        ("/v2/models/synthetic/infer", "/v2/models/{name}/infer", 2, ["decode", "infer", "encode"]),
    ],
)
def test_a_request_and_its_steps_are_one_trace(
    traced: TestClient, spans: InMemorySpanExporter, path: str, route: str, images: int, steps: list[str]
) -> None:
    answer = call(traced, path, SAMPLED)
    request, names = family(spans.get_finished_spans())
    assert (answer.status_code, request.name, names) == (200, f"POST {route}", steps)
    assert request.context is not None
    assert request.parent is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    assert request.attributes == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": route,
        STATUS: 200,
        "clustnet.request_id": answer.headers["x-request-id"],
    }
    infer = next(span for span in spans.get_finished_spans() if span.name == "infer")
    assert infer.attributes == {"clustnet.model": "synthetic", "clustnet.version": "1", "clustnet.images": images}


def test_a_trace_may_begin_here(traced: TestClient, spans: InMemorySpanExporter) -> None:
    for headers in ({}, {"traceparent": "nonsense"}):
        call(traced, "/predict", headers)
        request, _ = family(spans.get_finished_spans()[-4:])
        assert request.parent is None


def test_unsampled_requests_are_not_traced(traced: TestClient, spans: InMemorySpanExporter) -> None:
    assert call(traced, "/predict", {"traceparent": f"00-{TRACE}-{PARENT}-00"}).status_code == 200
    assert not spans.get_finished_spans()


def test_refusals_are_traced_and_probes_are_not(traced: TestClient, spans: InMemorySpanExporter) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/v2/health/ready"):
        assert traced.get(path).status_code == 200
    assert not spans.get_finished_spans()
    traced.request("SECRET", "/secret")
    traced.post("/predict", content=b"{", headers={"content-type": "application/json"})
    found = [(span.name, (span.attributes or {}).get(STATUS)) for span in spans.get_finished_spans()]
    assert found == [("HTTP", 404), ("decode", None), ("POST /predict", 400)]
    assert "secret" not in "".join(span.to_json() for span in spans.get_finished_spans()).lower()


def test_a_fault_of_the_services_is_an_error(spans: InMemorySpanExporter) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("", 503)(scope, receive, send)

    assert TestClient(tracing(application, spans)).get("/x").status_code == 503
    (span,) = spans.get_finished_spans()
    assert span.status.status_code == StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "503"


def test_nothing_is_traced_by_default(client: TestClient) -> None:
    assert Tracing not in [middleware.cls for middleware in client.app.user_middleware]  # type: ignore[attr-defined]
    assert step("infer") is NO_SPAN


VARIABLES = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
VARIABLES += ("OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, []),
        ({"OTEL_TRACES_EXPORTER": ""}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ["otlp"]),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "true"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, []),
    ],
)
def test_the_standard_variables_turn_it_on(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], names: list[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert exporter_names() == names


@pytest.mark.parametrize(
    ("name", "value", "how"),
    [
        ("OTEL_TRACES_EXPORTER", "jaeger", "set it to otlp, console or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "set it to http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "set it to http/protobuf"),
    ],
)
def test_what_cannot_be_done_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, how: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a")
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{name} is '{value}'; {re.escape(how)}"):
        exporter_names()


@contextlib.contextmanager
def collector() -> Iterator[tuple[str, list[ResourceSpans]]]:
    """Collect what is sent as OTLP over HTTP; yield the address and what has come."""
    received: list[ResourceSpans] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path == "/v1/traces":
                body = self.rfile.read(int(self.headers["content-length"]))
                received.extend(ExportTraceServiceRequest.FromString(body).resource_spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def test_a_real_service_sends_its_traces(synthetic_bundle: Path) -> None:
    with collector() as (address, received):
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "OTEL_SERVICE_NAME": "shop",
            # With this sampler only requests that clients trace are traced.
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
            "NO_PROXY": "127.0.0.1",
        }
        with running_server(synthetic_bundle, **variables) as server:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                call(client, "/predict")
                for path in ("/predict", "/predict_image", "/v2/models/synthetic/infer"):
                    assert call(client, path, SAMPLED).status_code == 200
            # The end exports what is left.
            assert server.stop() == 0
            assert "Traceback" not in server.log.read_text()
    spans = spans_of(received)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    requests = {span.span_id: span.name for span in spans if span.parent_span_id.hex() == PARENT}
    told = [(requests[span.parent_span_id], span.name) for span in spans if span.parent_span_id in requests]
    three, image = ("decode", "infer", "encode"), "POST /predict_image"
    expected = [(name, each) for name in ("POST /predict", "POST /v2/models/{name}/infer", image) for each in three]
    assert sorted(told) == sorted([*expected, (image, "prepare")])
    attributes = {each.key: each.value.string_value for each in received[0].resource.attributes}
    assert attributes["service.name"] == "shop"


def spans_of(received: list[ResourceSpans]) -> list[Any]:
    return [span for resource in received for scope in resource.scope_spans for span in scope.spans]
