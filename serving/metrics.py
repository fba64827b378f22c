"""What Prometheus sees; every label takes its values from a closed set.

BentoML's own metrics are off, because they label each request with its raw path, so that anyone can
make the service remember paths without end. prometheus_client adds up the workers by itself, as BentoML
starts them with PROMETHEUS_MULTIPROC_DIR.
"""

import os
import re
import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clustnet.bundle import Manifest
from clustnet.predictor import Predictions
from clustnet.routing import routing_entropy
from serving.refusals import Refusal

ENTROPY_BUCKETS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 5.0)
CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
IMAGES_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
INFERENCE_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0),
)

MODEL = Gauge(
    "clustnet_model_info",
    "1 for the model that is served and what runs it.",
    ["name", "version", "provider"],
    multiprocess_mode="max",
)
BINARY = Counter("clustnet_predictions_by_binary_label", "Images by predicted coarse label.", ["label"])
EXPERT = Counter("clustnet_predictions_by_expert", "Images by their most probable expert.", ["expert"])
GUESS = Counter("clustnet_predictions_by_class", "Images by guessed fine class.", ["label"])
ENTROPY = Histogram(
    "clustnet_routing_entropy_nats", "Entropy of each image's routing distribution.", buckets=ENTROPY_BUCKETS
)
CONFIDENCE = Histogram(
    "clustnet_guess_confidence", "Probability of each image's guessed class.", buckets=CONFIDENCE_BUCKETS
)
ABSTAINED = Counter("clustnet_abstentions", "Images whose confidence is under the bundle's threshold.")
IMAGES = Histogram("clustnet_images_per_request", "Images in each prediction.", buckets=IMAGES_BUCKETS)
INFERENCE = Histogram(
    "clustnet_inference_seconds", "Time in onnxruntime for each prediction.", buckets=INFERENCE_BUCKETS
)
REFUSED = Counter("clustnet_refused_requests", "Requests without a prediction, by reason.", ["reason"])
REQUESTS = Counter("clustnet_requests", "HTTP requests by path and status.", ["path", "status"])
SECONDS = Histogram("clustnet_request_seconds", "Time to answer an HTTP request.", ["path"])


def announce(manifest: Manifest, provider: str) -> None:
    """Publish the model, and start its counters at zero so that rates are right from the first image."""
    MODEL.labels(manifest.name, manifest.version, provider).set(1)
    for label in manifest.coarse_labels:
        BINARY.labels(label)
    for expert in range(manifest.experts):
        EXPERT.labels(str(expert))
    for label in manifest.fine_classes:
        GUESS.labels(label)


def count_predictions(outputs: Predictions, manifest: Manifest, seconds: float) -> None:
    """Count the outputs of one inference that took ``seconds``."""
    INFERENCE.observe(seconds)
    IMAGES.observe(len(outputs.routing))
    _count(BINARY, (outputs.positive_probability > 0.5).astype(np.intp), manifest.coarse_labels)
    _count(EXPERT, outputs.routing.argmax(axis=1), range(manifest.experts))
    _count(GUESS, outputs.class_probability.argmax(axis=1), manifest.fine_classes)
    ABSTAINED.inc(int(manifest.abstention.refuses(outputs.confidence).sum()))
    for entropy in routing_entropy(outputs.routing).tolist():
        ENTROPY.observe(entropy)
    for confidence in outputs.class_probability.max(axis=1).tolist():
        CONFIDENCE.observe(confidence)


def refused(refusal: Refusal) -> Response:
    """Count a request that gets no prediction, and return its answer."""
    REFUSED.labels(refusal.reason).inc()
    return refusal.response()


def exposition() -> bytes:
    """Return the metrics of all workers in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class RequestMetrics:
    """ASGI middleware that counts and times the requests.

    Args:
        app: the application.
        paths: the paths that are told apart; all else counts as ``other``.
        patterns: the labels of paths that hold a name of the client's, and what matches them.
    """

    def __init__(self, app: ASGIApp, paths: Collection[str], patterns: Mapping[str, re.Pattern[str]]) -> None:
        self.app = app
        self.paths = paths
        self.patterns = patterns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = self._label(scope["path"])
        start = time.perf_counter()

        async def observing(message: Message) -> None:
            if message["type"] == "http.response.start":
                REQUESTS.labels(path, str(message["status"])).inc()
                SECONDS.labels(path).observe(time.perf_counter() - start)
            await send(message)

        await self.app(scope, receive, observing)

    def _label(self, path: str) -> str:
        if path in self.paths:
            return path
        return next((label for label, pattern in self.patterns.items() if pattern.fullmatch(path)), "other")


def _count(counter: Counter, chosen: NDArray[np.intp], labels: Sequence[object]) -> None:
    """Add how often each label was chosen; ``chosen`` is [N], indices into ``labels``."""
    for label, times in zip(labels, np.bincount(chosen, minlength=len(labels)).tolist(), strict=True):
        if times:
            counter.labels(str(label)).inc(times)
