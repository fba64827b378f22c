"""What the service answers."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictions

ERRORS = {
    400: "The request is not HTTP, or its body is not JSON or no form.",
    408: "The request took too long to arrive.",
    413: "The body is too large.",
    415: "The body has another content type.",
    422: "The content is wrong; the reason names the image and the fault.",
    431: "The headers are too large.",
    500: "The service has failed; its log says why.",
    503: "The service is not ready or is stopping, or too many requests wait; Retry-After says when to ask again.",
    504: "The service took too long.",
}


class Model(BaseModel):
    """The bundle that answered."""

    name: str
    version: str


class Choice(BaseModel):
    """The most probable label and its probability."""

    label: str
    probability: float


class Prediction(BaseModel):
    """What the model says of one image.

    ``routing`` is the gate's distribution over the experts and ``expert`` its most probable one;
    ``class_probabilities`` are calibrated and in the order of the bundle's fine classes. ``confidence``, above 0 to 1,
    tells how like the training images the image is, a half being usual; ``abstain`` is true where it is under the
    bundle's threshold: then the image is probably none of the classes, whatever the guess and its probability.
    ``binary`` is null for a bundle without coarse labels.
    """

    binary: Choice | None
    routing: list[float]
    expert: int
    guess: Choice
    class_probabilities: list[float]
    confidence: float
    abstain: bool


class PredictResponse(BaseModel):
    """The answer of ``/predict``, one prediction an image, in order."""

    model: Model
    predictions: list[Prediction]


class PredictImageResponse(BaseModel):
    """The answer of ``/predict_image``: the prediction, and the image as the model saw it."""

    model: Model
    prediction: Prediction
    prepared: list[list[int]] | list[list[list[int]]]


class Error(BaseModel):
    """Why there is no prediction."""

    error: str


async def fail(_: Request, __: Exception) -> Response:
    """Answer a fault of this program, which Starlette raises again for the log."""
    return JSONResponse({"error": ERRORS[500]}, 500)


def as_json(answer: BaseModel) -> Response:
    """Return an answer in JSON; BentoML would check it first against a schema that it makes anew each time."""
    return Response(answer.model_dump_json(), media_type="application/json")


def model_of(manifest: Manifest) -> Model:
    """Return the name and version of a bundle."""
    return Model(name=manifest.name, version=manifest.version)


def predictions_of(outputs: Predictions, manifest: Manifest) -> list[Prediction]:
    """Turn the arrays of N images into N predictions.

    Args:
        outputs: float32 arrays, [N], [N, E] and [N, C].
        manifest: names the labels and holds the threshold of the confidence.
    """
    positive = outputs.positive_probability
    binary: list[Choice] | list[None] = [None] * len(positive)
    if manifest.grouping().divided:
        binary = _choices(np.stack([1 - positive, positive], axis=1), manifest.coarse_labels)
    guesses = _choices(outputs.class_probability, manifest.fine_classes)
    columns = {
        "binary": binary,
        "routing": outputs.routing.tolist(),
        "expert": outputs.routing.argmax(axis=1).tolist(),
        "guess": guesses,
        "class_probabilities": outputs.class_probability.tolist(),
        "confidence": outputs.confidence.tolist(),
        "abstain": manifest.abstention.refuses(outputs.confidence).tolist(),
    }
    return [Prediction(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _choices(probability: NDArray[np.float32], labels: tuple[str, ...]) -> list[Choice]:
    """Return the most probable label of each row of [N, len(labels)]."""
    pairs = zip(probability.argmax(axis=1).tolist(), probability.max(axis=1).tolist(), strict=True)
    return [Choice(label=labels[index], probability=value) for index, value in pairs]
