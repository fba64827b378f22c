"""The models behind an estimator: the trained network, or a bundle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clustnet.bundles.bundle import Bundle, InputSpec
from clustnet.bundles.class_map import guesses
from clustnet.bundles.predictor import Predictions, Predictor
from clustnet.bundles.preparation import prepare_image
from clustnet.encoders import open_encoder
from onnx_export.class_map import Subtypes
from onnx_export.graphs import Mixture, predict
from onnx_export.trained import Trained


class Answering(Protocol):
    """A model that answers for images or for embeddings."""

    @property
    def coarse_labels(self) -> tuple[str, ...]:
        """The names of the K coarse labels."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the C subtypes; an unnamed subtype is called ``LABEL/1``, ``LABEL/2``, and so on."""

    @property
    def membership(self) -> NDArray[np.bool_]:
        """Whether each subtype belongs to each coarse label, bool [K, C]."""

    @property
    def experts(self) -> int:
        """E, how many experts there are."""

    @property
    def features(self) -> int | None:
        """The length of the embeddings that the model reads; None for images."""

    def __call__(self, X: NDArray[np.generic]) -> Predictions:  # noqa: N803
        """Return the answers for images uint8 [N, H, W] or [N, H, W, 3], or for embeddings float32 [N, D]."""


def guessed(found: Predictions, answering: Answering) -> NDArray[np.int64]:
    """Return the guess for each image, int64 [N]: the most probable subtype of the most probable coarse label."""
    return guesses(found.coarse_probability, found.class_probability, answering.membership)


def prepared(images: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Return images as a model reads them, uint8 [N, *spec.shape]; those of another shape are prepared like files."""
    if images.shape[1:] == tuple(spec.shape):
        return images
    return np.stack([prepare_image(Image.fromarray(image).convert("RGB"), spec) for image in images])


@dataclass(frozen=True)
class Network:
    """The trained network with its class map, in torch.

    Args:
        mixture: the network, on the CPU.
        subtypes: the subtypes and their class map.
        input: the input for which images are prepared; None for embeddings.
        encoder: the name of the encoder before the mixture, if there is one.
        features: the length of the embeddings; None for images.
    """

    mixture: Mixture
    subtypes: Subtypes
    input: InputSpec | None = None
    encoder: str | None = None
    features: int | None = None

    @classmethod
    def of(cls, trained: Trained) -> "Network":
        """Return the network of a run that was trained on images."""
        fitted, encoder = trained.fitted(), trained.recipe.encoder
        mixture = fitted.mixture(trained.model, trained.recipe.hard)
        return cls(mixture, fitted.subtypes, trained.inputs.input, encoder.name if encoder else None)

    @property
    def coarse_labels(self) -> tuple[str, ...]:
        """The names of the K coarse labels."""
        return self.subtypes.coarse_labels

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the C subtypes."""
        return tuple(subtype.name for subtype in self.subtypes.subtypes)

    @property
    def membership(self) -> NDArray[np.bool_]:
        """Whether each subtype belongs to each coarse label, bool [K, C]."""
        return self.subtypes.membership()

    @property
    def experts(self) -> int:
        """E, how many experts there are."""
        return len(self.subtypes.class_map.values)

    def __call__(self, X: NDArray[np.generic]) -> Predictions:  # noqa: N803
        """Return the answers for images, or for embeddings."""
        if self.input is None:
            return predict(self.mixture, X.astype(np.float32))
        images = prepared(X.astype(np.uint8), self.input)
        if self.encoder is None:
            return predict(self.mixture, images)
        encoder = open_encoder(self.encoder, device="cpu", threads=0)
        return predict(self.mixture, encoder.embed(images))


class Served:
    """A bundle in onnxruntime, as the service runs it.

    Args:
        folder: the bundle's folder.

    Raises:
        UserError: the folder is not an intact bundle.
    """

    features = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._predictor = Predictor(Bundle(folder))

    def __reduce__(self) -> tuple[type["Served"], tuple[Path]]:
        """Let a copy, such as one in another process, open the bundle again."""
        return Served, (self.folder,)

    @property
    def coarse_labels(self) -> tuple[str, ...]:
        """The names of the K coarse labels."""
        return self._predictor.manifest.coarse_labels

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the C subtypes."""
        return tuple(subtype.name for subtype in self._predictor.manifest.subtypes)

    @property
    def membership(self) -> NDArray[np.bool_]:
        """Whether each subtype belongs to each coarse label, bool [K, C]."""
        return self._predictor.manifest.membership()

    @property
    def experts(self) -> int:
        """E, how many experts there are."""
        return self._predictor.manifest.experts

    def __call__(self, X: NDArray[np.generic]) -> Predictions:  # noqa: N803
        """Return the answers for images."""
        return self._predictor.predict(prepared(X.astype(np.uint8), self._predictor.manifest.input))
