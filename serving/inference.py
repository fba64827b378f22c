"""The one way from images to outputs that every protocol takes, so that all are counted alike."""

import time

import numpy as np
from numpy.typing import NDArray

from clustnet.predictor import Predictions, Predictor
from serving.metrics import count_predictions


def predict_counted(predictor: Predictor, images: NDArray[np.uint8]) -> Predictions:
    """Predict uint8 [N, *input shape] and count the outputs and the time."""
    start = time.perf_counter()
    outputs = predictor.predict(images)
    count_predictions(outputs, predictor.manifest, time.perf_counter() - start)
    return outputs
