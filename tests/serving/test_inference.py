import numpy as np
from prometheus_client import REGISTRY

from clustnet.predictor import Predictor
from serving.inference import predict_counted
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
