"""From images to outputs: every protocol takes this way, so that all are counted alike."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple, Unpack

import numpy as np
from anyio import CapacityLimiter, to_thread
from numpy.typing import NDArray
from starlette.responses import Response

from clustnet.bundles.predictor import Predictions, Predictor
from serving.api.feedback import FeedbackStore
from serving.metrics.drift import WATCH
from serving.metrics.metrics import count_predictions
from serving.middleware.request_log import CLIENT_GONE
from serving.middleware.tracing import step
from serving.refusals import Refusal

# A body of about five digits, which takes two milliseconds.
SMALL_BYTES = 4096
# One computes at a time, since more would only share the core.
THREAD = CapacityLimiter(1)

A = TypeVarTuple("A")


async def compute(
    small: bool, gone: Callable[[], Awaitable[bool]], function: Callable[[Unpack[A]], Response], *args: *A
) -> Response:
    """Return the answer of a function that computes: in a thread, so that no other request waits, or here if ``small``.

    To pass a request of one image to a thread costs half as much as to answer it.

    Args:
        small: whether it takes no longer than a few milliseconds.
        gone: returns, after the wait for the thread, whether the client has gone away; then nothing is computed.
        function: returns the answer.
        args: what it is called with.
    """
    if small:
        return function(*args)
    async with THREAD:
        return Response(status_code=CLIENT_GONE) if await gone() else await to_thread.run_sync(function, *args)


def predict_counted(predictor: Predictor, images: NDArray[np.uint8]) -> Predictions:
    """Return the predictions for uint8 [N, *input shape], counted with their time.

    Raises:
        Refusal: 500, they are not finite numbers, which JSON has no words for.
    """
    start = time.perf_counter()
    with step("infer") as span:
        outputs = predictor.predict(images)
        if span:
            manifest = predictor.manifest
            attributes = {"clustnet.model": manifest.name, "clustnet.version": manifest.version}
            span.set_attributes({**attributes, "clustnet.images": len(images)})
    if not outputs.are_finite():
        fault = "answered with numbers that are not finite; serve another version of it"
        raise Refusal(500, "failed", f"The model '{predictor.manifest.name}' {fault}.")
    count_predictions(outputs, predictor.manifest, time.perf_counter() - start)
    WATCH.note(outputs, images, predictor.manifest)
    return outputs


def predict_kept(
    predictor: Predictor, images: NDArray[np.uint8], feedback: FeedbackStore | None, kept_id: str
) -> Predictions:
    """Return the same for a request, and keep the answer under this name where feedback may come."""
    outputs = predict_counted(predictor, images)
    if feedback:
        feedback.keep(kept_id, outputs, predictor.manifest)
    return outputs
