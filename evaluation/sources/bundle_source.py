"""Answers from a bundle, computed by onnxruntime in this process."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.answers import Answers, ModelName
from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import CUDA, Device, Predictor
from clustnet.bundles.tree import guessed
from clustnet.errors import UserError
from evaluation.sources.sources import BATCH, ModelInfo


class BundleSource:
    """A bundle that answers images.

    Args:
        folder: the bundle's folder.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: the bundle is damaged, or ``cuda`` was requested and does not work here.
    """

    def __init__(self, folder: Path, device: Device = "auto") -> None:
        self._folder = folder
        self.predictor = Predictor(Bundle(folder), device)
        manifest = self.predictor.manifest
        if device == "cuda" and self.predictor.provider != CUDA:
            raise UserError("onnxruntime finds no working CUDA device here; use --device auto or cpu.")
        self._manifest = manifest
        self.info = ModelInfo(
            model=ModelName(manifest.name, manifest.version),
            input=manifest.input,
            class_names=manifest.class_names,
            grouping=manifest.grouping(),
            named=any(subtype.named for subtype in manifest.subtypes),
            class_map=manifest.class_map.model_dump(include={"kind", "data", "reference_images"}),
        )

    def answer(self, images: NDArray[np.uint8]) -> Answers:
        """Answer N images: uint8 ``[N, *input shape]``.

        Raises:
            UserError: the images have another shape.
        """
        found = self.predictor.predict(images, BATCH)
        return Answers(
            model=self.info.model,
            coarse_labels=self.info.grouping.labels,
            coarse_probability=found.coarse_probability,
            routing=found.routing,
            class_probability=found.class_probability,
            guess=guessed(found, self._manifest),
            confidence=found.confidence,
            abstain=self._manifest.abstention.refuses(found.confidence),
        )

    def description(self) -> dict[str, Any]:
        """Return the bundle's folder."""
        return {"bundle": str(self._folder)}
