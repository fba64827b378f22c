"""A scikit-learn estimator of the method ``deep_clustering`` for rows or images, without a recipe or a run.

DeepClustering(10, architecture="configs/architectures/mnist.json:0").fit(train).predict(test)
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.groups import ALL
from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.datasets.folder import channel_statistics
from clustnet.errors import UserError
from estimators.arrays import checked_images, holds_images
from estimators.base import TakesImages, seed_of
from onnx_export.export import write_bundle
from onnx_export.inputs import Inputs
from onnx_export.trained import Trained
from training.clustering.manifold import check_manifold
from training.data.data import CoarseData
from training.engine.progress import unwatched
from training.methods.deep_clustering.config import DeepClusteringRecipe
from training.methods.deep_clustering.method import DeepClusteringMethod
from training.models.architecture import Architecture, parse_architecture, read_architecture
from training.models.inference import BATCH, evaluating
from training.recipe.reading import validated
from training.recipe.recipe import FOLDER, Augmentation
from training.runs.label_free import label_free

# The parts of a recipe that ``settings`` may change.
PARTS = ("augmentation", "optimisation", "pretraining", "clustering")
# The pixel value that methods take as the brightest.
MAX_PIXEL = 255
# Rows whose range is a smaller share of the fitted range are on another scale. Rows of only a few numbers are exempt,
# as these may be alike.
LEAST_SPREAD, MIN_FEATURES = 1 / 64, 16
# The minimum of a recipe; scikit-learn's estimators accept a single cluster as well.
MIN_CLUSTERS = 2

Floats = NDArray[np.float32]
Clusters = NDArray[np.int64]


class DeepClustering(TakesImages, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Clusters in the embedding of an autoencoder; the method is that of ``clustnet train``, see ``training.methods``.

    Images are used as they are. Rows are scaled as a whole, so that the smallest fitted number becomes 0 and the
    largest 1. Rows on another scale are then refused, such as pixels from 0 to 1, or standardised ones, after a fit on
    pixels from 0 to 255.

    Args:
        n_clusters: number of clusters, E.
        architecture: widths of the fully connected layers of the encoder, the last being the embedding's (by default
            those of Xie, Girshick, Farhadi, arXiv:1511.06335); or an architecture like those in
            ``configs/architectures/*.json``, as ``FILE:ENTRY`` or as a mapping. Rows are then flattened images
            (H, W, C).
        loss: ``kl``, the divergence of DEC, or ``kmeans``, the distance of DCN.
        pretraining_epochs: epochs of pretraining by reconstruction alone.
        epochs: epochs of clustering, jointly with reconstruction.
        learning_rate: step size of both stages.
        batch_size: rows per step; None uses that of a named architecture, otherwise 256.
        settings: other keys of a recipe, ``{"clustering.start": "manifold", "augmentation": {"rotation": 10}}``; they
            take precedence over the arguments above.
        random_state: seeds everything random; the caller's own random state is left as it was.

    Attributes:
        labels_: int64 [N], cluster of each fitted row or image.
        cluster_centers_: float32 [E, D], centres of the clusters in the embedding.
        n_features_in_: F, the number of values in a row or an image.
        recipe_: the recipe, with every setting that was used.
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
            X: numbers [N, F], none missing, or images uint8 [N, H, W] or [N, H, W, 3].
            y: not used.

        Raises:
            ValueError: the array has another form; a ``UserError`` if settings are wrong or the architecture does not
                fit.
        """
        given = self._fitted_array(X)
        if not isinstance(self.n_clusters, int | np.integer) or not 1 <= self.n_clusters <= len(given):
            wanted = f"a whole number from 1 to n_samples={len(given)}"
            raise UserError(f"n_clusters={self.n_clusters!r}, but must be {wanted}.")
        self.recipe_ = self._recipe()
        images = self._images(given)
        if self.recipe_.uses_manifold:
            check_manifold()
        method = DeepClusteringMethod(without_labels(images), self.recipe_, Accelerator())
        for _ in method.run(0, unwatched):
            pass
        self.model_ = method.model
        self.cluster_centers_ = self.model_.centroids.detach().cpu().numpy().copy()
        self._n_features_out = self.cluster_centers_.shape[1]
        self.labels_ = self._route(images).argmax(axis=1)
        # The images on which a bundle is fitted.
        self._train = images if self.image_shape_ else None
        return self

    def predict(self, X: ArrayLike) -> Clusters:  # noqa: N803
        """Return the cluster of each row or image, int64 [N]; ``X`` as in ``fit``."""
        clusters: Clusters = self.predict_proba(X).argmax(axis=1)
        return clusters

    def predict_proba(self, X: ArrayLike) -> Floats:  # noqa: N803
        """Return the degree to which each row or image belongs to each cluster, float32 [N, E], rows summing to 1."""
        return self._route(self._checked(X))

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803
        """Return the embeddings of rows or images, float32 [N, D]; ``X`` as in ``fit``."""
        images = self._checked(X)
        return self._run(self.model_.embed, images)

    def score(self, X: ArrayLike, y: object = None) -> float:  # noqa: ARG002, N803
        """Return the label-free score: the mutual information between the clusters of inputs and of random views."""
        data = without_labels(self._checked(X))
        return label_free(self.model_, data, self.recipe_.augmentation, self.recipe_.hard).score

    def save(self, bundle: str | Path, *, name: str | None = None, version: str = "1", examples: bool = True) -> Path:
        """Write a bundle, which ``make serve`` serves, and return its folder; the clusters are its subtypes.

        Args:
            bundle: the bundle's folder; an earlier bundle there is replaced.
            name: name of the model; by default that of the folder.
            version: version of the model.
            examples: whether the bundle includes some training images of each cluster.

        Raises:
            UserError: the estimator was fitted on rows, or the folder is not a bundle.
        """
        check_is_fitted(self)
        if self._train is None:
            raise UserError(
                "A bundle reads images, but this DeepClustering was fitted on rows; fit it on images [N, H, W] or "
                "[N, H, W, 3]."
            )
        out = Path(bundle)
        write_bundle(self._trained(self._train), out, name or out.resolve().name, version, examples)
        return out

    def _recipe(self) -> DeepClusteringRecipe:
        """Return the recipe that the parameters describe.

        Raises:
            UserError: a parameter is wrong, or a setting is not a key of the method.
        """
        content: dict[str, Any] = {
            "method": "deep_clustering",
            "seed": seed_of(self.random_state),
            "data": {"name": FOLDER, "coarse": None},
            "model": {"experts": max(self.n_clusters, MIN_CLUSTERS), "architecture": self._architecture()},
            "pretraining": {"epochs": self.pretraining_epochs, "learning_rate": self.learning_rate},
            "optimisation": {"epochs": self.epochs, "learning_rate": self.learning_rate},
            "clustering": {"loss": self.loss},
        }
        for key, value in (self.settings or {}).items():
            part, _, name = key.partition(".")
            if part not in PARTS:
                raise UserError(
                    f"settings has the key {key!r}, but must have the form PART.KEY, with PART one of {PARTS}."
                )
            content.setdefault(part, {}).update({name: value} if name else value)
        recipe = validated(content, "DeepClustering")
        assert isinstance(recipe, DeepClusteringRecipe)  # noqa: S101 - by its method
        rows = not self.image_shape_ and not isinstance(self.architecture, str | Mapping)
        if rows and recipe.augmentation != Augmentation():
            raise UserError(
                "Views need images, but architecture is given by widths; name an architecture that reads images."
            )
        model = recipe.model.model_copy(update={"experts": int(self.n_clusters)})
        return recipe.model_copy(update={"model": model})

    def _architecture(self) -> Architecture:
        """Return the architecture, for rows or for images.

        Raises:
            UserError: the architecture is wrong, or does not fit the shape of the images or rows.
        """
        described = self.architecture
        if isinstance(described, str):
            found = read_architecture(described)
        elif isinstance(described, Mapping):
            found = parse_architecture(described, "architecture")
        elif isinstance(described, Iterable):
            found = fully_connected(self._channels_first(), tuple(described))
        else:
            raise UserError(
                f"architecture is {described!r}, but must be widths, as in (500, 10), FILE:ENTRY or a mapping."
            )
        features = int(np.prod(found.image_shape))
        if self.image_shape_ and found.image_shape != self._channels_first():
            raise UserError(
                f"The architecture {found.name} reads images of {list(found.image_shape)}, but those of X are "
                f"{list(self._channels_first())} (channels, height, width); name another architecture."
            )
        if features != self.n_features_in_:
            raise UserError(
                f"The architecture {found.name} reads images of {features} numbers, but rows have "
                f"{self.n_features_in_}; flatten each image to a row, or name another architecture."
            )
        if self.batch_size is None:
            return found
        return parse_architecture(found.model_dump() | {"batch_size": self.batch_size}, "DeepClustering")

    def _channels_first(self) -> tuple[int, int, int]:
        """Return the shape of an image in the order of architectures, (C, H, W), or (1, 1, F) for a row."""
        if not self.image_shape_:
            return 1, 1, self.n_features_in_
        height, width, *channels = self.image_shape_
        return (channels or [1])[0], height, width

    def _fitted_array(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the array to fit, and note its shape and scale."""
        if holds_images(X):
            images = checked_images(X)
            self.image_shape_: tuple[int, ...] = images.shape[1:]
            self.n_features_in_ = int(np.prod(self.image_shape_))
            self.offset_, self.scale_ = 0.0, float(MAX_PIXEL)
            return images
        rows: NDArray[np.floating] = validate_data(self, X, dtype=(np.float32, np.float64))
        self.image_shape_ = ()
        self.offset_, self.scale_ = float(rows.min()), float(np.ptp(rows)) or 1.0
        return rows

    def _checked(self, X: ArrayLike) -> Floats:  # noqa: N803
        """Return rows or images as the method reads them, given a fitted estimator.

        Raises:
            UserError: rows are on another scale than the fitted ones, or images have another shape.
        """
        check_is_fitted(self)
        if holds_images(X) or self.image_shape_:
            images = checked_images(X)
            if images.shape[1:] != self.image_shape_:
                fitted = f"images of {list(self.image_shape_)}" if self.image_shape_ else "rows"
                raise UserError(f"X has images of {list(images.shape[1:])}, but the fitted X had {fitted}.")
            return self._images(images)
        checked: NDArray[np.floating] = validate_data(self, X, dtype=(np.float32, np.float64), reset=False)
        least, most = float(checked.min()), float(checked.max())
        if 0 < most - least <= LEAST_SPREAD * self.scale_ and self.n_features_in_ >= MIN_FEATURES:
            raise UserError(
                f"X is on a scale from {least:g} to {most:g}, but the fitted rows ranged from {self.offset_:g} to "
                f"{self.offset_ + self.scale_:g}; scale both alike."
            )
        return self._images(checked)

    def _images(self, given: NDArray[Any]) -> Floats:
        """Return rows or images as the method reads them, float32 [N, H, W] or [N, H, W, C], about 0 to 255."""
        channels, height, width = self.recipe_.model.architecture.image_shape
        shape = (height, width) if channels == 1 else (height, width, channels)
        # Pixels from 0 to 255 stay exactly as they are.
        scaled = (given - self.offset_) * (MAX_PIXEL / self.scale_)
        return scaled.astype(np.float32).reshape(-1, *shape)

    def _route(self, images: Floats) -> Floats:
        """Return the routing distribution of each image, float32 [N, E]."""
        return self._run(self.model_.gate, images)

    def _trained(self, images: Floats) -> Trained:
        """Return the trained model and data from which a bundle is made."""
        pixels = images.astype(np.uint8)
        mean, std = channel_statistics(pixels)
        none = np.full(len(pixels), UNKNOWN)
        train = LabelledImages.of_classes("arrays", "train", pixels, none, (), mean, std)
        meaning = "RGB, 0 to 255" if pixels.ndim == 4 else "grey, 0 to 255"
        read = InputSpec.model_validate({"shape": pixels.shape[1:], "meaning": meaning, "preparation": "fit"})
        return Trained(self.recipe_, copy.deepcopy(self.model_).cpu().eval(), Inputs(train, None, None, read))

    def _run(self, network: Callable[[Tensor], Tensor], images: Floats) -> Floats:
        """Return the output of a part of the model for images, in batches and in evaluation mode."""
        with evaluating(self.model_) as device:
            parts = torch.split(torch.from_numpy(images), BATCH)
            found: Floats = torch.cat([network(part.to(device)) for part in parts]).cpu().numpy()
        return found


def fully_connected(shape: tuple[int, int, int], widths: tuple[int, ...]) -> Architecture:
    """Return an autoencoder of fully connected layers, all rectified except the embedding and the reconstruction.

    Args:
        shape: shape of an image, (C, H, W), or (1, 1, F) for a row of F numbers.
        widths: widths of the layers of the encoder, the last being that of the embedding.

    Raises:
        UserError: a width is not a positive whole number, or there is none.
    """
    dense = [{"type": "Dense", "num_units": width, "non_linearity": "rectify"} for width in widths]
    if dense:
        dense[-1]["non_linearity"] = "linear"
    layers = [{"type": "Input", "output_shape": list(shape)}, *dense]
    content = {"name": "fully connected", "batch_size": 256, "output_non_linearity": "linear", "layers": layers}
    return parse_architecture(content, "architecture")


def without_labels(images: Floats) -> CoarseData:
    """Return images float32 [N, H, W] or [N, H, W, C], about 0 to 255, with a single coarse label.

    Rows of numbers are not rounded to the 256 values of pixels; ``CoarseData`` keeps them as they are.
    """
    mean, spread = float(images.mean()) / MAX_PIXEL, float(images.std()) / MAX_PIXEL or 1.0
    coarse = torch.zeros(len(images), dtype=torch.int64)
    return CoarseData(torch.from_numpy(images), coarse, (ALL,), (mean,), (spread,))
