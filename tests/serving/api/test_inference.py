import asyncio
import threading

import numpy as np
import pytest
from prometheus_client import REGISTRY
from starlette.responses import Response

from clustnet.bundles.predictor import Predictor
from serving.api.inference import THREAD, compute, predict_counted
from serving.api.requests import never_gone
from serving.metrics.metrics import DEFERRED
from serving.refusals import Refusal


def value(metric: str) -> float:
    DEFERRED.flush()
    return REGISTRY.get_sample_value(metric) or 0.0


def thread() -> Response:
    return Response(str(threading.get_ident()))


def test_predictions_are_the_predictors_and_counted_once(predictor: Predictor) -> None:
    images = np.random.default_rng(3).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    series = ("clustnet_images_per_request_sum", "clustnet_inference_seconds_count")
    before = [value(name) for name in series]
    outputs = predict_counted(predictor, images)
    np.testing.assert_array_equal(outputs.class_probability, predictor.predict(images).class_probability)
    assert [value(name) for name in series] == [before[0] + 4, before[1] + 1]


def test_numbers_that_are_not_finite_are_refused(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    outputs = predictor.predict(images)
    outputs.routing[1, 0] = np.nan
    monkeypatch.setattr(predictor, "predict", lambda _: outputs)
    before = value("clustnet_inference_seconds_count")
    with pytest.raises(Refusal, match=r"^The model 'synthetic' answered with numbers that are not finite") as caught:
        predict_counted(predictor, images)
    assert (caught.value.status, caught.value.reason) == (500, "failed")
    # A sum that is not finite would stay so.
    assert value("clustnet_inference_seconds_count") == before


def test_only_small_work_stays_in_this_thread() -> None:
    async def threads() -> tuple[int, int]:
        answers = [await compute(small, never_gone, thread) for small in (True, False)]
        return int(answers[0].body), int(answers[1].body)

    here, beside = asyncio.run(threads())
    assert here == threading.get_ident() != beside


def test_nothing_is_computed_for_gone_clients() -> None:
    async def story() -> tuple[int, bool]:
        left, computed = False, list[bool]()

        async def gone() -> bool:
            return left

        # Another request computes.
        async with THREAD:
            waiting = asyncio.create_task(compute(False, gone, lambda: computed.append(True) or thread()))
            await asyncio.sleep(0.01)
            left = True
        return (await waiting).status_code, bool(computed)

    assert asyncio.run(story()) == (499, False)
