import math
import re

import numpy as np
import pytest
from prometheus_client import REGISTRY, Histogram

from clustnet.predictor import Predictions, Predictor
from serving.metrics import TALLY, announce, count_predictions, count_unadmitted, exposition, observe_all, refused
from serving.refusals import Refusal

UNIFORM, CERTAIN = [0.2] * 5, [0.0, 1.0, 0.0, 0.0, 0.0]
OUTPUTS = Predictions(
    positive_probability=np.array([0.9, 0.2, 0.8], np.float32),
    routing=np.array([CERTAIN, CERTAIN, UNIFORM], np.float32),
    expert_probability=np.full((3, 5), 0.5, np.float32),
    class_probability=np.eye(10, dtype=np.float32)[[7, 7, 2]],
    confidence=np.array([0.4, 0.5, 0.1], np.float32),
)


def value(metric: str, /, **labels: str) -> float:
    TALLY.flush()
    return REGISTRY.get_sample_value(f"clustnet_{metric}", labels) or 0.0


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
        ("routing_entropy_nats_sum", {}, math.log(5)),
        ("routing_entropy_nats_bucket", {"le": "0.01"}, 2),
        ("guess_confidence_count", {}, 3),
        ("abstentions_total", {"model": "synthetic"}, 2),
        ("images_per_request_sum", {}, 3),
        ("images_per_request_count", {}, 1),
        ("inference_seconds_bucket", {"le": "0.0005"}, 1),
        ("inference_seconds_bucket", {"le": "0.00025"}, 0),
    ],
)
def test_predictions_are_counted(predictor: Predictor, name: str, labels: dict[str, str], added: float) -> None:
    before = value(name, **labels)
    count_predictions(OUTPUTS, predictor.manifest, seconds=0.0004)
    assert value(name, **labels) - before == pytest.approx(added, abs=1e-5)


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
    assert REGISTRY.get_sample_value("clustnet_abstentions_total", {"model": "new"}) == 0


def test_each_served_model_is_told_and_no_other() -> None:
    models = [("mnist", "1", "CPUExecutionProvider"), ("mnist", "2", "CUDAExecutionProvider")]
    for served in (models, models[:1], []):
        told = re.findall(r'^clustnet_model_info{name="(.*)",provider="(.*)",version="(.*)"} 1.0$', shown(served), re.M)
        assert [(name, version, provider) for name, provider, version in told] == served
        assert "clustnet_images_per_request_count" in shown(served)


def shown(models: list[tuple[str, str, str]]) -> str:
    return exposition(models).decode()


def test_many_values_are_observed_as_if_one_by_one() -> None:
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


def test_requests_that_were_not_admitted_are_counted() -> None:
    before = [value("refused_requests_total", reason="overloaded"), value("requests_total", path="/x", status="503")]
    count_unadmitted("/x")
    count_unadmitted("/x")
    after = [value("refused_requests_total", reason="overloaded"), value("requests_total", path="/x", status="503")]
    assert after == [number + 2 for number in before]
