"""A scikit-learn estimator: the method ``deep_clustering`` on rows of numbers, without a recipe file or a run folder.

DeepClustering(10, architecture="configs/architectures/mnist.json:0").fit(train).predict(test)
"""

from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from clustnet.bundles.groups import ALL
from clustnet.errors import UserError
from training.clustering.manifold import check_manifold
from training.data.data import CoarseData
from training.methods.deep_clustering.config import DeepClusteringRecipe
from training.methods.deep_clustering.method import DeepClusteringMethod
from training.models.architecture import Architecture, parse_architecture, read_architecture
from training.models.inference import BATCH, evaluating
from training.recipe.reading import validated
from training.recipe.recipe import Augmentation
from training.runs.label_free import label_free

# The parts of a recipe that settings may be in.
PARTS = ("augmentation", "optimisation", "pretraining", "clustering")
# What methods take as the brightest.
MAX_PIXEL = 255
# Rows whose numbers differ less, as a share of the fitted range, are on another scale; a few numbers may be so alike.
LEAST_SPREAD, MIN_FEATURES = 1 / 64, 16
# Of a recipe; scikit-learn's estimators take one cluster as well.
MIN_CLUSTERS = 2

Floats = NDArray[np.float32]
Clusters = NDArray[np.int64]


class DeepClustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Clusters in an autoencoder's embedding; the method is ``clustnet train``'s own, see ``training.methods``.

    Rows are scaled as a whole, so that the smallest number that was fitted becomes 0 and the largest 1. Rows on another
    scale are refused later, such as pixels from 0 to 1, or standardised ones, after a fit of pixels from 0 to 255.

    Args:
        n_clusters: number of clusters, E.
        architecture: widths of the fully connected layers of the encoder, the last is the embedding's (by default those
            of Xie, Girshick, Farhadi, arXiv:1511.06335); or an architecture as ``configs/architectures/*.json`` have
            them, named as ``FILE:ENTRY`` or as a mapping. Rows are then images (H, W, C), flattened.
        loss: ``kl``, the divergence of DEC, or ``kmeans``, the distance of DCN.
        pretraining_epochs: by reconstruction alone.
        epochs: of clustering, jointly with reconstruction.
        learning_rate: step size of both stages.
        batch_size: rows a step; None takes a named architecture's own, otherwise 256.
        settings: other keys of a recipe, ``{"clustering.start": "manifold", "augmentation": {"rotation": 10}}``; they
            win over the arguments above.
        random_state: seed of everything random; the random numbers of the caller are left as they were.

    Attributes:
        labels_: int64 [N], cluster of each row that was fitted.
        cluster_centers_: float32 [E, D], in the embedding.
        n_features_in_: F, numbers a row.
        recipe_: every setting as it was used.
        model_: the trained ``training.models.deep_clusters.DeepClusters``.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        architecture: tuple[int, ...] | str | Mapping[str, Any] = (500, 500, 2000, 10),
        loss: Literal["kl", "kmeans"] = "kl",
        pretraining_epochs: int = 100,
        epochs: int = 50,
        learning_rate: float = 1e-3,
        batch_size: int | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.architecture = architecture
        self.loss = loss
        self.pretraining_epochs = pretraining_epochs
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.settings = settings
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> "DeepClustering":  # noqa: ARG002, N803 - scikit-learn's names
        """Find clusters.

        Args:
            X: numbers [N, F], none missing.
            y: not used.

        Raises:
            ValueError: no such array; a ``UserError`` for settings that are wrong or an architecture that does not fit.
        """
        rows = validate_data(self, X, dtype=(np.float32, np.float64))
        if not isinstance(self.n_clusters, int | np.integer) or not 1 <= self.n_clusters <= len(rows):
            wanted = f"a whole number from 1 to n_samples={len(rows)}"
            raise UserError(f"n_clusters={self.n_clusters!r}, but should be {wanted}.")
        self.recipe_ = self._recipe()
        self.offset_, self.scale_ = float(rows.min()), float(np.ptp(rows)) or 1.0
        images = self._images(rows)
        if self.recipe_.uses_manifold:
            check_manifold()
        method = DeepClusteringMethod(without_labels(images), self.recipe_, Accelerator())
        for _ in method.run(0, lambda batches, total: batches):  # noqa: ARG005 - nobody watches
            pass
        self.model_ = method.model
        self.cluster_centers_ = self.model_.centroids.detach().cpu().numpy().copy()
        self._n_features_out = self.cluster_centers_.shape[1]
        self.labels_ = self._route(images)
        return self

    def predict(self, X: ArrayLike) -> Clusters:  # noqa: N803
        """Return the cluster of each row, int64 [N]; ``X`` as in ``fit``."""
        return self._route(self._images(self._checked(X)))

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803
        """Return the embeddings of rows, float32 [N, D]; ``X`` as in ``fit``."""
        embeddings: Floats = self._run(self.model_.embed, self._images(self._checked(X)))
        return embeddings

    def score(self, X: ArrayLike, y: object = None) -> float:  # noqa: ARG002, N803
        """Return the label-free score of a run: the mutual information of the clusters of rows and of random views."""
        data = without_labels(self._images(self._checked(X)))
        return label_free(self.model_, data, self.recipe_.augmentation, self.recipe_.hard).score

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: embeddings are float32, whatever comes in."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _recipe(self) -> DeepClusteringRecipe:
        """Return the recipe that the parameters describe.

        Raises:
            UserError: a parameter is wrong, or a setting is no key of the method.
        """
        seed = self.random_state
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(2**31 - 1)
        content: dict[str, Any] = {
            "method": "deep_clustering",
            "seed": int(seed),
            "data": {"coarse": None},
            "model": {"experts": max(self.n_clusters, MIN_CLUSTERS), "architecture": self._architecture()},
            "pretraining": {"epochs": self.pretraining_epochs, "learning_rate": self.learning_rate},
            "optimisation": {"epochs": self.epochs, "learning_rate": self.learning_rate},
            "clustering": {"loss": self.loss},
        }
        for key, value in (self.settings or {}).items():
            part, _, name = key.partition(".")
            if part not in PARTS:
                raise UserError(f"settings has the key {key!r}, but should have PART.KEY, PART one of {PARTS}.")
            content.setdefault(part, {}).update({name: value} if name else value)
        recipe = validated(content, "DeepClustering")
        assert isinstance(recipe, DeepClusteringRecipe)  # noqa: S101 - by its method
        if not isinstance(self.architecture, str | Mapping) and recipe.augmentation != Augmentation():
            raise UserError("Views need images, but architecture is given by widths; name one that reads images.")
        model = recipe.model.model_copy(update={"experts": int(self.n_clusters)})
        return recipe.model_copy(update={"model": model})

    def _architecture(self) -> Architecture:
        """Return the architecture, for rows as they are or for images.

        Raises:
            UserError: it is wrong, or for another number of features.
        """
        described = self.architecture
        if isinstance(described, str):
            found = read_architecture(described)
        elif isinstance(described, Mapping):
            found = parse_architecture(described, "architecture")
        elif isinstance(described, Iterable):
            found = fully_connected(self.n_features_in_, tuple(described))
        else:
            raise UserError(
                f"architecture is {described!r}, but must be widths, as in (500, 10), FILE:ENTRY or a mapping."
            )
        features = int(np.prod(found.image_shape))
        if features != self.n_features_in_:
            raise UserError(
                f"The architecture {found.name} reads images of {features} numbers, but rows have "
                f"{self.n_features_in_}; flatten each image to a row, or name another architecture."
            )
        if self.batch_size is None:
            return found
        return parse_architecture(found.model_dump() | {"batch_size": self.batch_size}, "DeepClustering")

    def _checked(self, rows: ArrayLike) -> NDArray[np.floating]:
        """Return rows [N, F] as scikit-learn checks them, once the estimator is fitted.

        Raises:
            UserError: they are on another scale than the fitted ones.
        """
        check_is_fitted(self)
        checked: NDArray[np.floating] = validate_data(self, rows, dtype=(np.float32, np.float64), reset=False)
        least, most = float(checked.min()), float(checked.max())
        if 0 < most - least <= LEAST_SPREAD * self.scale_ and self.n_features_in_ >= MIN_FEATURES:
            raise UserError(
                f"X is on a scale from {least:g} to {most:g}, but the fitted rows were from {self.offset_:g} to "
                f"{self.offset_ + self.scale_:g}; scale both alike."
            )
        return checked

    def _images(self, rows: NDArray[np.floating]) -> Floats:
        """Return rows as the method reads images, float32 [N, H, W] or [N, H, W, C], about 0 to 255."""
        channels, height, width = self.recipe_.model.architecture.image_shape
        shape = (height, width) if channels == 1 else (height, width, channels)
        # Rows of pixels from 0 to 255 stay exactly as they are.
        scaled = (rows - self.offset_) * (MAX_PIXEL / self.scale_)
        return scaled.astype(np.float32).reshape(-1, *shape)

    def _route(self, images: Floats) -> Clusters:
        """Return the cluster of each image, int64 [N]."""
        labels: Clusters = self._run(self.model_.gate, images).argmax(axis=1)
        return labels

    def _run(self, network: Callable[[Tensor], Tensor], images: Floats) -> Floats:
        """Return what a part of the model makes of images, in batches and in evaluation mode."""
        with evaluating(self.model_) as device:
            parts = torch.split(torch.from_numpy(images), BATCH)
            found: Floats = torch.cat([network(part.to(device)) for part in parts]).cpu().numpy()
        return found


def fully_connected(features: int, widths: tuple[int, ...]) -> Architecture:
    """Return an encoder of fully connected layers, rectified but for the last and for what the decoder rebuilds.

    Args:
        features: numbers a row.
        widths: of the layers, the embedding's is the last.

    Raises:
        UserError: a width is no positive whole number, or there is none.
    """
    dense = [{"type": "Dense", "num_units": width, "non_linearity": "rectify"} for width in widths]
    if dense:
        dense[-1]["non_linearity"] = "linear"
    layers = [{"type": "Input", "output_shape": [1, 1, features]}, *dense]
    content = {"name": "fully connected", "batch_size": 256, "output_non_linearity": "linear", "layers": layers}
    return parse_architecture(content, "architecture")


def without_labels(images: Floats) -> CoarseData:
    """Return images float32 [N, H, W] or [N, H, W, C], about 0 to 255, under one coarse label.

    Rows of numbers are not rounded to the 256 values of pixels; ``CoarseData`` takes them as they are.
    """
    mean, spread = float(images.mean()) / MAX_PIXEL, float(images.std()) / MAX_PIXEL or 1.0
    coarse = torch.zeros(len(images), dtype=torch.int64)
    return CoarseData(torch.from_numpy(images), coarse, (ALL,), (mean,), (spread,))
