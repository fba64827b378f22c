import gzip
import json
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from starlette.testclient import TestClient

from clustnet.bundles.predictor import Predictions, Predictor
from serving.api.inference import predict_counted
from serving.metrics.drift import Watch
from serving.metrics.metrics import DEFERRED
from serving.refusals import Refusal


def value(metric: str) -> float:
    DEFERRED.flush()
    return REGISTRY.get_sample_value(metric, {"model": "synthetic", "version": "1"}) or 0.0


def test_predictions_are_the_predictors_and_counted_once(predictor: Predictor) -> None:
    images = np.random.default_rng(3).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    series = ("clustnet_images_per_request_sum", "clustnet_inference_seconds_count")
    before = [value(name) for name in series]
    outputs = predict_counted(predictor, images, Watch())
    np.testing.assert_array_equal(outputs.class_probability, predictor.predict(images).class_probability)
    assert [value(name) for name in series] == [before[0] + 4, before[1] + 1]


def test_numbers_that_are_not_finite_are_refused(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    outputs = predictor.predict(images)
    outputs.routing[1, 0] = np.nan
    monkeypatch.setattr(predictor, "predict", lambda _, **__: outputs)
    before = value("clustnet_inference_seconds_count")
    with pytest.raises(Refusal, match=r"^The model 'synthetic' returned numbers that are not finite") as caught:
        predict_counted(predictor, images, Watch())
    assert (caught.value.status, caught.value.reason) == (500, "failed")
    # A sum that is not finite would stay so.
    assert value("clustnet_inference_seconds_count") == before


@pytest.mark.parametrize(("count", "packed", "here"), [(1, False, True), (1, True, False), (50, False, False)])
def test_only_small_work_stays_in_the_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, count: int, packed: bool, here: bool
) -> None:
    threads: list[str] = []
    predict = Predictor.predict

    def noting(self: Predictor, images: NDArray[np.uint8], **options: Any) -> Predictions:
        threads.append(threading.current_thread().name)
        return predict(self, images, **options)

    monkeypatch.setattr(Predictor, "predict", noting)
    content = json.dumps({"images": np.zeros((count, 28, 28), int).tolist()}).encode()
    headers = {"content-type": "application/json"} | ({"content-encoding": "gzip"} if packed else {})
    client.post("/predict", content=gzip.compress(content) if packed else content, headers=headers).raise_for_status()
    (thread,) = threads
    # The loop's own thread is one of anyio's portal.
    assert ("AnyIO worker" not in thread) == here
