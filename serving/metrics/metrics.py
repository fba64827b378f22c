"""The metrics that Prometheus reads; every label takes its values from a closed set, so that no client can add series.

prometheus_client itself adds up the metrics of several workers, in the folder that ``choose_folder`` has set.
"""

import os
from collections import Counter as Counts
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.responses import Response

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictions, joined
from clustnet.bundles.routing import routing_entropy
from clustnet.bundles.tree import guessed
from serving.metrics.deferred import DeferredCounts
from serving.metrics.served import ModelInfo, OfServed, forget_dead_workers
from serving.refusals import Reason, Refusal
from serving.routes import ENDPOINTS

ENTROPY_BUCKETS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 5.0)
CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
IMAGES_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
INFERENCE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
VERSION = ["model", "version"]
REASONS = tuple(chain.from_iterable(map(get_args, get_args(Reason))))

COARSE = Counter("clustnet_predictions_by_binary_label", "Images by predicted coarse label.", ["model", "label"])
EXPERT = Counter("clustnet_predictions_by_expert", "Images by their most probable expert.", ["model", "expert"])
GUESS = Counter("clustnet_predictions_by_class", "Images by guessed class.", ["model", "label"])
ENTROPY = Histogram(
    "clustnet_routing_entropy_nats", "Entropy of each image's routing distribution.", ["model"], buckets=ENTROPY_BUCKETS
)
GUESSED = Histogram(
    "clustnet_guess_confidence", "Probability of each image's guessed class.", ["model"], buckets=CONFIDENCE_BUCKETS
)
CONFIDENCE = Histogram(
    "clustnet_confidence", "How similar each image is to the training images.", ["model"], buckets=CONFIDENCE_BUCKETS
)
ABSTAINED = Counter("clustnet_abstentions", "Images whose confidence is under the bundle's threshold.", ["model"])
IMAGES = Histogram("clustnet_images_per_request", "Images in each prediction.", VERSION, buckets=IMAGES_BUCKETS)
INFERENCE = Histogram(
    "clustnet_inference_seconds", "Time in onnxruntime for each prediction.", VERSION, buckets=INFERENCE_BUCKETS
)
REFUSED = Counter("clustnet_refused_requests", "Requests without a prediction, by reason.", ["reason"])
REQUESTS = Counter("clustnet_requests", "HTTP requests by path and status.", ["path", "status"])
SECONDS = Histogram("clustnet_request_seconds", "Time to answer an HTTP request.", ["path"], buckets=REQUEST_BUCKETS)
IN_FLIGHT = Gauge(
    "clustnet_requests_in_flight",
    "Requests for predictions that are read and not yet answered.",
    multiprocess_mode="livesum",
)
LIMIT = Gauge(
    "clustnet_requests_in_flight_limit",
    "Requests for predictions above which more are refused.",
    multiprocess_mode="livesum",
)

# The statuses whose series exist from the start.
ANNOUNCED_STATUSES = ("200", "500", "503", "504", "507")

DEFERRED = DeferredCounts()


def announce_requests() -> None:
    """Start the counters of requests at zero, so that a rate shows the first failure."""
    for path in {endpoint.metric for endpoint in ENDPOINTS}:
        SECONDS.labels(path)
        for status in ANNOUNCED_STATUSES:
            REQUESTS.labels(path, status)
    for reason in REASONS:
        REFUSED.labels(reason)


def announce(manifest: Manifest) -> None:
    """Start a model's counters at zero, so that rates are right from the first image."""
    for metric in (ABSTAINED, ENTROPY, GUESSED, CONFIDENCE):
        metric.labels(manifest.name)
    for metric in (IMAGES, INFERENCE):
        metric.labels(manifest.name, manifest.version)
    for label in manifest.coarse_labels if len(manifest.coarse_labels) > 1 else ():
        COARSE.labels(manifest.name, label)
    for expert in range(manifest.experts):
        EXPERT.labels(manifest.name, str(expert))
    for label in manifest.class_names:
        GUESS.labels(manifest.name, label)


def count_predictions(outputs: Predictions, manifest: Manifest, seconds: float) -> None:
    """Count, a moment later, the outputs of one inference that took ``seconds``."""
    DEFERRED.add(_count_predictions, (outputs, manifest, seconds))


def refused(refusal: Refusal) -> Response:
    """Count a request that gets no prediction, and return its answer."""
    REFUSED.labels(refusal.reason).inc()
    return refusal.response()


def count_request(path: str, status: int, seconds: float) -> None:
    """Count, a moment later, an answer that took ``seconds``; ``path`` is the label of the path in the metrics."""
    DEFERRED.add(_count_requests, (path, status, seconds))


def count_unread(path: str) -> None:
    """Count a request that was refused under overload before it was read; ``path`` is as in ``count_request``."""
    DEFERRED.add(_count_unread, path)


def exposition(models: Iterable[tuple[Manifest, str, bool]]) -> bytes:
    """Return the metrics of all workers in Prometheus' text format, with ``ModelInfo``'s metrics of these models."""
    DEFERRED.flush()
    served = list(models)
    registry = CollectorRegistry()
    registry.register(ModelInfo(served))
    registry.register(OfServed(_all_workers(), {(manifest.name, manifest.version) for manifest, _, _ in served}))
    return generate_latest(registry)


def counted(manifests: Iterable[Manifest]) -> list[tuple[int, int, float]]:
    """Return what all workers have counted for each version: inferences, images, and seconds of inference."""
    DEFERRED.flush()
    values = {
        (sample.name, *map(sample.labels.get, VERSION)): sample.value
        for metric in _all_workers().collect()
        for sample in metric.samples
        if sample.labels.keys() == set(VERSION)
    }
    names = [
        f"clustnet_{name}" for name in ("inference_seconds_count", "images_per_request_sum", "inference_seconds_sum")
    ]
    found = ([values[name, one.name, one.version] for name in names] for one in manifests)
    return [(int(inferences), int(images), seconds) for inferences, images, seconds in found]


def _all_workers() -> Collector:
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return REGISTRY
    forget_dead_workers(Path(folder))
    return MultiProcessCollector(None)  # type: ignore[no-untyped-call]


def _count_requests(answers: list[tuple[str, int, float]]) -> None:
    """Count answers by path and status, and observe their seconds."""
    for (path, status), times in Counts((path, status) for path, status, _ in answers).items():
        REQUESTS.labels(path, str(status)).inc(times)
    for path in {path for path, _, _ in answers}:
        observe_all(SECONDS.labels(path), np.array([seconds for label, _, seconds in answers if label == path]))


def _count_unread(paths: list[str]) -> None:
    REFUSED.labels("overloaded").inc(len(paths))
    for path, times in Counts(paths).items():
        REQUESTS.labels(path, "503").inc(times)


def _count_predictions(notes: list[tuple[Predictions, Manifest, float]]) -> None:
    """Count inferences; a note holds the outputs, the model's manifest and the seconds of one."""
    for manifest in {id(manifest): manifest for _, manifest, _ in notes}.values():
        parts, seconds = zip(*[(outputs, time) for outputs, other, time in notes if other is manifest], strict=True)
        version = manifest.name, manifest.version
        observe_all(INFERENCE.labels(*version), np.array(seconds))
        observe_all(IMAGES.labels(*version), np.array([len(outputs.routing) for outputs in parts]))
        _count_outputs(joined(parts), manifest)


def _count_outputs(outputs: Predictions, manifest: Manifest) -> None:
    name = manifest.name
    guess = guessed(outputs, manifest)
    if len(manifest.coarse_labels) > 1:
        _count(COARSE, name, outputs.coarse_probability.argmax(axis=1), manifest.coarse_labels)
    _count(EXPERT, name, outputs.routing.argmax(axis=1), range(manifest.experts))
    _count(GUESS, name, guess, manifest.class_names)
    ABSTAINED.labels(name).inc(int(manifest.abstention.refuses(outputs.confidence).sum()))
    observe_all(ENTROPY.labels(name), routing_entropy(outputs.routing))
    probability = outputs.class_probability[np.arange(len(guess)), guess]
    observe_all(GUESSED.labels(name), probability)
    observe_all(CONFIDENCE.labels(name), outputs.confidence.astype(np.float64))


def observe_all(histogram: Histogram, values: NDArray[np.floating]) -> None:
    """Observe N values at once; prometheus_client itself would write to its file twice for each value.

    Args:
        histogram: the metric, with its labels.
        values: [N].
    """
    bounds = histogram._upper_bounds
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
    for index in np.flatnonzero(counts).tolist():
        histogram._buckets[index].inc(int(counts[index]))
    histogram._sum.inc(float(values.sum()))


def _count(counter: Counter, model: str, chosen: NDArray[np.integer], labels: Sequence[object]) -> None:
    """Add how often each label of a model was chosen; ``chosen`` is [N], indices into ``labels``."""
    for label, times in zip(labels, np.bincount(chosen, minlength=len(labels)).tolist(), strict=True):
        if times:
            counter.labels(model, str(label)).inc(times)
