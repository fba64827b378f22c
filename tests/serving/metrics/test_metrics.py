import math
import re
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY, Histogram

from clustnet.bundles.bundle import Bundle, Manifest
from clustnet.bundles.predictor import Predictions, Predictor
from serving.api.responses import predictions_of
from serving.metrics.metrics import (
    DEFERRED,
    announce,
    announce_requests,
    count_predictions,
    count_unread,
    exposition,
    observe_all,
    refused,
)
from serving.refusals import Refusal
from serving.settings import SHIPPED_BUNDLE

UNIFORM, CERTAIN = [0.2] * 5, [0.0, 1.0, 0.0, 0.0, 0.0]
OUTPUTS = Predictions(
    coarse_probability=np.array([[0.1, 0.9], [0.8, 0.2], [0.2, 0.8]], np.float32),
    routing=np.array([CERTAIN, CERTAIN, UNIFORM], np.float32),
    expert_probability=np.full((3, 5, 2), 0.5, np.float32),
    class_probability=np.eye(10, dtype=np.float32)[[7, 2, 7]],
    confidence=np.array([0.4, 0.5, 0.1], np.float32),
)


def value(metric: str, /, **labels: str) -> float:
    DEFERRED.flush()
    return REGISTRY.get_sample_value(f"clustnet_{metric}", labels) or 0.0


VERSION = {"model": "synthetic", "version": "1"}


@pytest.mark.parametrize(
    ("name", "labels", "added"),
    [
        ("predictions_by_binary_label_total", {"model": "synthetic", "label": "5-9"}, 2),
        ("predictions_by_binary_label_total", {"model": "synthetic", "label": "0-4"}, 1),
        ("predictions_by_expert_total", {"model": "synthetic", "expert": "1"}, 2),
        ("predictions_by_expert_total", {"model": "synthetic", "expert": "0"}, 1),
        ("predictions_by_class_total", {"model": "synthetic", "label": "7"}, 2),
        ("predictions_by_class_total", {"model": "synthetic", "label": "2"}, 1),
        ("predictions_by_class_total", {"model": "synthetic", "label": "3"}, 0),
        ("routing_entropy_nats_sum", {"model": "synthetic"}, math.log(5)),
        ("routing_entropy_nats_bucket", {"model": "synthetic", "le": "0.01"}, 2),
        ("guess_confidence_count", {"model": "synthetic"}, 3),
        ("confidence_sum", {"model": "synthetic"}, 1),
        ("confidence_bucket", {"model": "synthetic", "le": "0.2"}, 1),
        ("confidence_bucket", {"model": "synthetic", "le": "0.5"}, 3),
        ("abstentions_total", {"model": "synthetic"}, 2),
        ("images_per_request_sum", VERSION, 3),
        ("images_per_request_count", VERSION, 1),
        ("inference_seconds_bucket", VERSION | {"le": "0.0005"}, 1),
        ("inference_seconds_bucket", VERSION | {"le": "0.00025"}, 0),
    ],
)
def test_predictions_are_counted(predictor: Predictor, name: str, labels: dict[str, str], added: float) -> None:
    before = value(name, **labels)
    count_predictions(OUTPUTS, predictor.manifest, seconds=0.0004)
    assert value(name, **labels) - before == pytest.approx(added, abs=1e-5)


def test_labels_and_guesses_agree_with_answers(any_predictor: Predictor) -> None:
    manifest = any_predictor.manifest
    images = np.random.default_rng(0).integers(0, 256, (40, *manifest.input.shape)).astype(np.uint8)
    outputs = any_predictor.predict(images)
    predictions = predictions_of(outputs, manifest)

    def counts() -> dict[str, Any]:
        found = {("coarse", label): ("binary_label", label) for label in manifest.coarse_labels}
        found |= {("guess", name): ("class", name) for name in manifest.class_names}
        of = {key: f"predictions_by_{kind}_total" for key, (kind, _) in found.items()}
        return {key: value(of[key], model=manifest.name, label=label) for key, (_, label) in found.items()}

    before = counts()
    count_predictions(outputs, manifest, seconds=0.0004)
    added = {key: number - before[key] for key, number in counts().items()}
    for (kind, label), number in added.items():
        expected = sum(getattr(prediction, kind).label == label for prediction in predictions)
        # A single coarse label is not counted.
        assert number == (0 if kind == "coarse" and len(manifest.coarse_labels) == 1 else expected)


def test_refusals_are_counted_by_reason_and_answered() -> None:
    before = value("refused_requests_total", reason="wrong_shape")
    answer = refused(Refusal(422, "wrong_shape", "images[0]: it is null."))
    assert (answer.status_code, bytes(answer.body)) == (422, b'{"error":"images[0]: it is null."}')
    assert value("refused_requests_total", reason="wrong_shape") - before == 1


def test_a_models_counters_start_at_zero(predictor: Predictor) -> None:
    announce(predictor.manifest.model_copy(update={"name": "new"}))
    for series, labels in (
        ("by_expert", {"expert": "4"}),
        ("by_class", {"label": "9"}),
        ("by_binary_label", {"label": "5-9"}),
    ):
        assert REGISTRY.get_sample_value(f"clustnet_predictions_{series}_total", {"model": "new", **labels}) == 0
    for metric in ("abstentions_total", "routing_entropy_nats_count", "guess_confidence_count", "confidence_count"):
        assert REGISTRY.get_sample_value(f"clustnet_{metric}", {"model": "new"}) == 0


def test_each_served_model_is_told_and_no_other(predictor: Predictor) -> None:
    models = [(named(predictor, "1"), "CPUExecutionProvider", True), (named(predictor, "2"), "CUDA", False)]
    for served in (models, models[:1], []):
        shown = exposition(served).decode()
        info = re.findall(r'^clustnet_model_info{name="mnist",provider="(.*)",version="(.*)"} 1.0$', shown, re.M)
        assert info == [(provider, manifest.version) for manifest, provider, _ in served]
        ready = re.findall(r'^clustnet_model_ready{model="mnist",version="(.*)"} (.*)$', shown, re.M)
        assert ready == [(manifest.version, f"{is_ready:.1f}") for manifest, _, is_ready in served]
        for manifest, *_ in models:
            announce(manifest)
        seconds = re.findall(r'^clustnet_inference_seconds_count{model="mnist",version="(.*)"}', shown, re.M)
        assert set(seconds) <= {manifest.version for manifest, *_ in served}


def named(predictor: Predictor, version: str) -> Manifest:
    return predictor.manifest.model_copy(update={"name": "mnist", "version": version})


def test_the_shipped_references_are_in_the_metrics() -> None:
    manifest = Bundle(SHIPPED_BUNDLE).manifest
    shown = exposition([(manifest, "CPUExecutionProvider", True)]).decode()
    series = r'^clustnet_expert_load_reference{expert="(.)",model="mnist",version="1"} (.*)$'
    loads = {expert: float(load) for expert, load in re.findall(series, shown, re.M)}
    assert list(loads) == ["0", "1", "2", "3", "4"]
    assert sum(loads.values()) == pytest.approx(1)
    assert 'clustnet_abstention_share_reference{model="mnist",version="1"} 0.01\n' in shown


def test_requests_and_refusals_are_counted_from_the_start() -> None:
    announce_requests()
    for path in ("/predict", "/predict_image", "/feedback", "/v2/models/{name}/infer", "other"):
        assert REGISTRY.get_sample_value("clustnet_request_seconds_count", {"path": path}) is not None
        for status in ("200", "500", "503", "504", "507"):
            assert REGISTRY.get_sample_value("clustnet_requests_total", {"path": path, "status": status}) is not None
    for reason in ("blank_image", "overloaded", "failed"):
        assert REGISTRY.get_sample_value("clustnet_refused_requests_total", {"reason": reason}) is not None


def test_many_values_count_like_single_ones() -> None:
    buckets = (0.1, 0.25, 1.0)
    together, alone = (Histogram(name, name, buckets=buckets, registry=None) for name in ("together", "alone"))
    values = np.array([0.05, 0.1, 0.1000001, 0.25, 0.5, 1.0, 7.0])
    observe_all(together, values)
    for each in values:
        alone.observe(each)
    for mine, theirs in zip(together.collect(), alone.collect(), strict=True):
        for ours, expected in zip(mine.samples, theirs.samples, strict=True):
            if not ours.name.endswith("_created"):
                assert (ours.labels, ours.value) == (expected.labels, pytest.approx(expected.value))


def test_requests_refused_unread_are_counted() -> None:
    before = [value("refused_requests_total", reason="overloaded"), value("requests_total", path="/x", status="503")]
    count_unread("/x")
    count_unread("/x")
    after = [value("refused_requests_total", reason="overloaded"), value("requests_total", path="/x", status="503")]
    assert after == [number + 2 for number in before]
