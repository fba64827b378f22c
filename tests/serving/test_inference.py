import asyncio
import threading

import numpy as np
from prometheus_client import REGISTRY

from clustnet.predictor import Predictor
from serving.inference import compute, predict_counted
from serving.metrics import TALLY


def value(metric: str) -> float:
    TALLY.flush()
    return REGISTRY.get_sample_value(metric) or 0.0


def test_predictions_are_the_predictors_and_counted_once(predictor: Predictor) -> None:
    images = np.random.default_rng(3).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    series = ("clustnet_images_per_request_sum", "clustnet_inference_seconds_count")
    before = [value(name) for name in series]
    outputs = predict_counted(predictor, images)
    np.testing.assert_array_equal(outputs.class_probability, predictor.predict(images).class_probability)
    assert [value(name) for name in series] == [before[0] + 4, before[1] + 1]


def test_small_work_is_done_in_this_thread_and_other_work_in_one_beside_it() -> None:
    async def threads() -> tuple[int, int]:
        return await compute(True, threading.get_ident), await compute(False, threading.get_ident)

    here, beside = asyncio.run(threads())
    assert here == threading.get_ident() != beside
