"""``POST /predict`` and ``POST /predict_image``."""

import warnings

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.preparation import ImageError, decode, prepare_image
from serving.api.inference import compute, predict_kept, unpacked
from serving.api.inputs import check_json, read_images
from serving.api.responses import PredictImageResponse, PredictResponse, as_json, model_of, predictions_of
from serving.api.state import asked_model, state_of
from serving.api.uploads import read_upload
from serving.headers import CONTENT_TYPE, header
from serving.middleware.tracing import step
from serving.models.catalogue import ServedModel
from serving.refusals import Refusal

# Pillow warns of each damaged entry in a camera's data; even a small file can have tens of thousands.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


async def predict(request: Request) -> Response:
    """Predict the coarse label, the expert and the class of each image."""
    check_json(_content_type(request))
    return await compute(request, _answer)


async def predict_image(request: Request) -> Response:
    """Prepare an image file as the model's training images were, and predict it."""
    # Never in the event loop, because a small file may hold a large image.
    return await compute(request, _answer_image, small_bytes=0)


def _answer(request: Request, body: bytes) -> Response:
    model = _model(request)
    with step("decode"):
        content = unpacked(request, body)
        pixels = read_images(content, model.manifest.input.shape, state_of(request).settings.max_images)
    outputs = predict_kept(request, model.predictor, pixels)
    with step("encode"):
        predictions = predictions_of(outputs, model.manifest)
        return as_json(PredictResponse(model=model_of(model.manifest), predictions=predictions))


def _answer_image(request: Request, body: bytes) -> Response:
    model = _model(request)
    prepared = _prepared(request, body, model.manifest.input)
    outputs = predict_kept(request, model.predictor, prepared[None])
    with step("encode"):
        (prediction,) = predictions_of(outputs, model.manifest)
        answer = PredictImageResponse(model=model_of(model.manifest), prediction=prediction, prepared=prepared.tolist())
        return as_json(answer)


def _prepared(request: Request, body: bytes, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the image file of a form, prepared as a model's input."""
    try:
        with step("decode"):
            decoded = decode(read_upload(_content_type(request), unpacked(request, body)))
        with step("prepare"):
            return prepare_image(decoded, spec)
    except ImageError as error:
        raise Refusal(422, error.reason, str(error)) from None


def _model(request: Request) -> ServedModel:
    """Return the model that the query names, or the default one, if it is ready."""
    model = asked_model(request)
    model.check_ready()
    return model


def _content_type(request: Request) -> str:
    return header(request.scope["headers"], CONTENT_TYPE) or ""
