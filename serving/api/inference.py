"""From images to outputs: every protocol uses this path, so that all are counted alike."""

import time
from collections.abc import Callable
from typing import TypeVarTuple, Unpack

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from clustnet.bundles.predictor import Predictions, Predictor
from serving.api.compression import decompress
from serving.api.state import State, state_of
from serving.headers import CONTENT_ENCODING, ID_NAME, header, kept_id
from serving.metrics.drift import Watch
from serving.metrics.metrics import count_predictions
from serving.middleware.tracing import step
from serving.models.watchdog import WATCHDOG
from serving.refusals import Refusal

# A body of about five digits, which takes two milliseconds.
SMALL_BYTES = 4096

A = TypeVarTuple("A")


async def compute(
    request: Request,
    function: Callable[[Request, bytes, Unpack[A]], Response],
    *args: *A,
    small_bytes: int = SMALL_BYTES,
) -> Response:
    """Run a computing function when it is the request's turn, and return its answer.

    It runs in a thread, so that no other request waits, or in the event loop if the body is small: passing a request of
    one image to a thread costs half as much as answering it.

    Args:
        request: the request, whose body is not read yet.
        function: returns the answer to a request and its body, which is not unpacked yet.
        args: further arguments of the function.
        small_bytes: the largest body that counts as small.
    """
    state = state_of(request)
    body = await state.gate.body(request, state.settings.max_body_bytes)
    async with state.gate.turn(request, body):
        # A small compressed body may be large once unpacked.
        if len(body) <= small_bytes and header(request.scope["headers"], CONTENT_ENCODING) is None:
            return function(request, body, *args)
        return await to_thread.run_sync(function, request, body, *args, limiter=state.thread)


def unpacked(request: Request, body: bytes) -> bytes:
    """Return a body without its Content-Encoding.

    Raises:
        Refusal: the body cannot be unpacked, or is too large once unpacked.
    """
    encoding = header(request.scope["headers"], CONTENT_ENCODING)
    return decompress(body, encoding, state_of(request).settings.max_body_bytes) if encoding else body


def predict_counted(predictor: Predictor, images: NDArray[np.uint8], watch: Watch) -> Predictions:
    """Return the predictions for images, uint8 ``[N, *input shape]``, and count them with their time.

    Raises:
        Refusal: 500, the predictions are not finite numbers, which JSON cannot express.
    """
    start = time.perf_counter()
    with step("infer") as span:
        outputs = _predict(predictor, images)
        if span:
            manifest = predictor.manifest
            attributes = {"clustnet.model": manifest.name, "clustnet.version": manifest.version}
            span.set_attributes({**attributes, "clustnet.images": len(images)})
    if not outputs.are_finite():
        fault = "returned numbers that are not finite; serve another version of it"
        raise Refusal(500, "failed", f"The model '{predictor.manifest.name}' {fault}.")
    count_predictions(outputs, predictor.manifest, time.perf_counter() - start)
    watch.note(outputs, images, predictor.manifest)
    return outputs


def _predict(predictor: Predictor, images: NDArray[np.uint8]) -> Predictions:
    with WATCHDOG.watched(len(images)) as options:
        try:
            return predictor.predict(images, options=options)
        except Exception:
            if not options.terminate:
                raise
            fault = f"takes too long for {len(images)} such images; serve another version of it"
            raise Refusal(500, "failed", f"The model '{predictor.manifest.name}' {fault}.") from None


def predict_kept(request: Request, predictor: Predictor, images: NDArray[np.uint8]) -> Predictions:
    """Return the predictions for a request, and keep the answer if the service takes feedback."""
    state: State = state_of(request)
    outputs = predict_counted(predictor, images, state.watch)
    if state.feedback:
        name = kept_id(request.scope, request.scope.get(ID_NAME, ""))
        state.feedback.keep(name, outputs, predictor.manifest)
    return outputs
