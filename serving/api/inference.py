"""The one way from images to outputs that every protocol takes, so that all are counted alike."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple, Unpack

import numpy as np
from anyio import CapacityLimiter, to_thread
from numpy.typing import NDArray
from starlette.responses import Response

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictions, Predictor
from serving.api.feedback import Feedback
from serving.metrics.drift import WATCH
from serving.metrics.metrics import count_predictions
from serving.middleware.request_log import GONE
from serving.middleware.tracing import step

SMALL_BYTES = 4096  # about five digits, or two milliseconds
THREAD = CapacityLimiter(1)  # one computes at a time, since more would only share the core

A = TypeVarTuple("A")


async def compute(
    small: bool, gone: Callable[[], Awaitable[bool]], function: Callable[[Unpack[A]], Response], *args: *A
) -> Response:
    """Call a function that computes: in a thread, so that it holds up nobody else, or right here if it is ``small``.

    To hand a request of one image to a thread costs half as much as to answer it.

    Args:
        small: whether it takes no longer than a few milliseconds.
        gone: tells, after the wait for the thread, whether the client has gone away; then nothing is computed.
        function: returns the answer.
        args: what it is called with.
    """
    if small:
        return function(*args)
    async with THREAD:
        return Response(status_code=GONE) if await gone() else await to_thread.run_sync(function, *args)


def predict_counted(predictor: Predictor, images: NDArray[np.uint8]) -> Predictions:
    """Predict uint8 [N, *input shape] and count the outputs and the time."""
    start = time.perf_counter()
    with step("infer") as span:
        outputs = predictor.predict(images)
        if span:
            span.set_attributes(_described(predictor.manifest, len(images)))
    count_predictions(outputs, predictor.manifest, time.perf_counter() - start)
    WATCH.note(outputs, images, predictor.manifest)
    return outputs


def predict_kept(
    predictor: Predictor, images: NDArray[np.uint8], feedback: Feedback | None, request_id: str
) -> Predictions:
    """Do the same for a request, and keep the answer where feedback may come."""
    outputs = predict_counted(predictor, images)
    if feedback:
        feedback.keep(request_id, outputs, predictor.manifest)
    return outputs


def _described(manifest: Manifest, images: int) -> dict[str, str | int]:
    """Return what a trace tells of an inference."""
    return {"clustnet.model": manifest.name, "clustnet.version": manifest.version, "clustnet.images": images}
