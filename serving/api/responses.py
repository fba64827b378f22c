"""The answers of the service."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.responses import Response

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.groups import UNKNOWN
from clustnet.bundles.predictor import Predictions
from clustnet.bundles.tree import guessed, steps_of


class AnsweringModel(BaseModel):
    """The bundle that answered."""

    name: str
    version: str


class Choice(BaseModel):
    """A label and its probability."""

    label: str
    probability: float


class CoarseChoice(Choice):
    """The most probable coarse label, its probability, and those of all coarse labels in the bundle's order."""

    probabilities: list[float]


class Prediction(BaseModel):
    """The model's answer for one image.

    ``coarse`` is the coarse label, the only one where a bundle has one; ``binary`` is the same for two coarse labels,
    and null for any other number. ``routing`` is the gate's distribution over the experts and ``expert`` its most
    probable one. ``guess`` is the most probable class of the most probable coarse label, so that the two agree;
    ``class_probabilities`` are calibrated and in the order of the bundle's subtypes. ``confidence``, above 0 to 1,
    says how similar the image is to the training images, a half being usual; ``abstain`` is true where it is under the
    bundle's threshold: then the image is probably none of the classes, whatever the guess and its probability.
    ``path`` is the way through the tree of a bundle that has one, from the highest label to the guess, each with its
    probability; empty otherwise, since BentoML's client takes no null for a list.
    """

    coarse: CoarseChoice
    binary: Choice | None
    routing: list[float]
    expert: int
    guess: Choice
    class_probabilities: list[float]
    confidence: float
    abstain: bool
    path: list[Choice] = []


class PredictResponse(BaseModel):
    """The answer of ``/predict``, one prediction per image, in order."""

    model: AnsweringModel
    predictions: list[Prediction]


class PredictImageResponse(BaseModel):
    """The answer of ``/predict_image``: the prediction, and the image as the model saw it."""

    model: AnsweringModel
    prediction: Prediction
    prepared: list[list[int]] | list[list[list[int]]]


class Error(BaseModel):
    """The reason why there is no prediction."""

    error: str


def as_json(answer: BaseModel) -> Response:
    """Return an answer in JSON."""
    return Response(answer.model_dump_json(), media_type="application/json")


def model_of(manifest: Manifest) -> AnsweringModel:
    """Return the name and version of a bundle."""
    return AnsweringModel(name=manifest.name, version=manifest.version)


def predictions_of(outputs: Predictions, manifest: Manifest) -> list[Prediction]:
    """Return the predictions for N images from a model's outputs.

    Args:
        outputs: float32 arrays for N images.
        manifest: names the labels and holds the threshold of the confidence.
    """
    guess = guessed(outputs, manifest)
    coarse = _choices(outputs.coarse_probability, outputs.coarse_probability.argmax(axis=1), manifest.coarse_labels)
    rows = zip(
        coarse,
        outputs.coarse_probability.tolist(),
        outputs.routing.tolist(),
        outputs.routing.argmax(axis=1).tolist(),
        _choices(outputs.class_probability, guess, manifest.class_names),
        outputs.class_probability.tolist(),
        outputs.confidence.tolist(),
        manifest.abstention.refuses(outputs.confidence).tolist(),
        _paths(outputs, manifest),
        strict=True,
    )
    binary = len(manifest.coarse_labels) == 2
    return [
        Prediction(
            coarse=CoarseChoice(label=coarse.label, probability=coarse.probability, probabilities=probabilities),
            binary=coarse if binary else None,
            routing=routing,
            expert=expert,
            guess=guess,
            class_probabilities=class_probabilities,
            confidence=confidence,
            abstain=abstain,
            path=path,
        )
        for coarse, probabilities, routing, expert, guess, class_probabilities, confidence, abstain, path in rows
    ]


def _paths(outputs: Predictions, manifest: Manifest) -> list[list[Choice]]:
    """Return the path of each image through the tree, empty without a tree."""
    if manifest.tree is None:
        return [[] for _ in outputs.routing]
    names = [label.name for label in manifest.tree]
    return [
        [Choice(label=names[label], probability=float(row[label])) for label in steps if label != UNKNOWN]
        for steps, row in zip(steps_of(outputs, manifest).tolist(), outputs.label_probability, strict=True)
    ]


def _choices(probability: NDArray[np.float32], chosen: NDArray[np.integer], labels: tuple[str, ...]) -> list[Choice]:
    """Return the chosen label of each row and its probability; ``probability`` is [N, len(labels)], ``chosen`` [N]."""
    of_chosen = probability[np.arange(len(chosen)), chosen]
    pairs = zip(chosen.tolist(), of_chosen.tolist(), strict=True)
    return [Choice(label=labels[index], probability=value) for index, value in pairs]
