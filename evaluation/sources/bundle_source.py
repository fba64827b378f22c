"""Answers from a bundle, by onnxruntime in this process."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.answers import Answers, Model
from clustnet.bundles.bundle import Bundle
from clustnet.bundles.groups import CoarseGrouping
from clustnet.bundles.predictor import CUDA, Device, Predictor
from clustnet.errors import UserError
from evaluation.sources.sources import BATCH


class BundleSource:
    """A bundle that answers images.

    Args:
        folder: the bundle's folder.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: the bundle is damaged, or ``cuda`` was asked for and does not work here.
    """

    def __init__(self, folder: Path, device: Device = "auto") -> None:
        self._folder = folder
        self.predictor = Predictor(Bundle(folder), device)
        self.manifest = self.predictor.manifest
        if device == "cuda" and self.predictor.provider != CUDA:
            raise UserError("onnxruntime finds no working CUDA device here; use --device auto or cpu.")

    def answer(self, images: NDArray[np.uint8]) -> Answers:
        """Answer N images: uint8 [N, *input shape].

        Raises:
            UserError: images of another shape.
        """
        predictions = self.predictor.predict(images, BATCH)
        probability = predictions.positive_probability
        positive = probability > 0.5
        return Answers(
            Model(self.manifest.name, self.manifest.version),
            predictions.routing,
            np.array(self.manifest.coarse_labels)[positive.astype(np.intp)],
            np.where(positive, probability, 1 - probability),
            predictions.class_probability,
            predictions.confidence,
            self.manifest.abstention.refuses(predictions.confidence),
        )

    def grouping(self, seen: Collection[str]) -> CoarseGrouping:  # noqa: ARG002 - the manifest knows
        """Return the coarse grouping that the model was trained on."""
        return self.manifest.grouping()

    def description(self) -> dict[str, Any]:
        """Return the bundle's folder and what its class map was fitted on."""
        fitted = self.manifest.class_map
        class_map = {"data": fitted.data, "reference_images": fitted.reference_images}
        return {"bundle": str(self._folder), "class_map": class_map}
