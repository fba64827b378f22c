"""The recipe of the method ``deep_clustering``. Nothing here needs torch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from clustnet.errors import UserError
from training.models.architecture import Architecture, parse_architecture, read_architecture
from training.models.config import MAX_EXPERTS
from training.recipe.parts import BelowOne, Count, Epochs, Part, Positive
from training.recipe.recipe import Augmentation, BaseRecipe, Optimisation, Pretraining

# Stands for a number of experts that is to be estimated.
AUTO = 0
EXAMPLE = "configs/architectures/mnist.json:0"


def _architecture(value: Any) -> Any:
    """Read an architecture that is named, ``FILE:ENTRY``, so that a resolved recipe holds all of it."""
    if isinstance(value, str):
        return read_architecture(value)
    return value if isinstance(value, Architecture) else parse_architecture(value, "it")


def _experts(value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, str) and value != "auto":
        raise ValueError(f"it is {value!r}, but must be a whole number or auto.")
    return AUTO if value == "auto" else number(value)


class DeepClustersModel(Part):
    """An autoencoder and the clusters in its embedding, which are the experts.

    Args:
        architecture: the autoencoder, written out or named as ``FILE:ENTRY``.
        experts: number of clusters; ``auto`` (in Python ``AUTO``) estimates it after the pre-training.
        clusters: number of clusters of each coarse label, ``{label: number}``, ``experts`` in all. By default they are
            shared out by the number of fine classes that ``data.coarse`` groups, or evenly if it groups none.
    """

    architecture: Annotated[Architecture, BeforeValidator(_architecture)] = Field(examples=[EXAMPLE])
    experts: Annotated[
        int,
        Field(ge=1, le=MAX_EXPERTS),
        WrapValidator(_experts),
        PlainSerializer(lambda experts: experts if experts != AUTO else "auto"),
    ] = 5
    clusters: dict[str, Count] | None = None


class Clustering(Part):
    """How clusters in the embedding are sharpened, jointly with reconstruction.

    Args:
        loss: ``kl``, between the soft assignment and its sharpened target (DEC), or ``kmeans``, the squared distance
            to the assigned centroid (DCN).
        weight: weight of that loss; the reconstruction error has 1.
        start: how the first clusters are found: by ``kmeans``, on a ``manifold``, k-means after UMAP, or along a
            ``graph`` of neighbours, graph degree linkage.
        space: where they are found: in the ``embedding``, or in the ``pixels`` themselves, which tell apart a few
            images that differ only by a rotation.
        neighbours: neighbours of each image that ``manifold`` and ``graph`` use; fewer than a class has images.
        manifolds: how many manifolds vote on the clusters, each of its own random sample.
        starts: starts of k-means, of which the tightest is kept; a report's k-means has as many.
        imitation: how many of the first epochs keep the clusters of the start as their target.
        refresh: number of steps after which the target is set again from all images, without augmentation.
        tolerance: training stops when a smaller share of the images has changed its cluster since the last refresh;
            0 never stops it.
        rebuild: what a random view is decoded to: the ``view`` itself, or the clean ``image``.
    """

    loss: Literal["kl", "kmeans"] = "kl"
    weight: Positive = 1.0
    start: Literal["kmeans", "manifold", "graph"] = "kmeans"
    space: Literal["embedding", "pixels"] = "embedding"
    neighbours: Annotated[int, Field(ge=2)] = 20
    manifolds: Count = 1
    starts: Count = 10
    imitation: Epochs = 0
    refresh: Count = 140
    tolerance: BelowOne = 0.0
    rebuild: Literal["view", "image"] = "view"


class DeepClusteringRecipe(BaseRecipe):
    """Everything that decides a run of ``deep_clustering``.

    Args:
        model: the autoencoder and its clusters.
        clustering: how clusters are found and sharpened.
        optimisation: how the network is optimised while clusters are sharpened.
        pretraining: pre-training by reconstruction alone.
    """

    method: Literal["deep_clustering"] = "deep_clustering"
    model: DeepClustersModel = Field(default_factory=dict, validate_default=True)
    clustering: Clustering = Clustering()
    optimisation: Optimisation = Optimisation()
    pretraining: Pretraining = Pretraining()

    @property
    def uses_manifold(self) -> bool:
        """Whether UMAP is needed; it is looked for before the training."""
        return self.clustering.start == "manifold"

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """The last epoch of the pre-training, after which runs with other losses may begin."""
        return (self.pretraining.epochs,) if self.pretraining.epochs else ()

    def clusters(self, labels: Sequence[str], images: Sequence[int] = ()) -> tuple[int, ...]:  # noqa: ARG002
        """Return how many clusters each coarse label should have, one in all until ``auto`` is estimated."""
        if self.model.experts == AUTO:
            return (1,)
        if self.model.clusters is not None:
            return tuple(self.model.clusters.get(label, 0) for label in labels)
        counts = self.data.class_counts(labels)
        return tuple(self.model.experts * count // sum(counts) for count in counts)

    def check(self, labels: Sequence[str] | None) -> None:
        """Refuse numbers of clusters that cannot be estimated or shared out among the coarse labels.

        Raises:
            UserError: says which key is wrong.
        """
        if self.model.experts == AUTO:
            self._check_auto(labels)
        elif self.model.experts < 2:
            raise UserError(f"model.experts is {self.model.experts}, but must be 2 clusters or more.")
        elif labels is not None:
            self._check_shares(labels)

    def _check_auto(self, labels: Sequence[str] | None) -> None:
        wrong = {
            "a single coarse label (data.coarse null)": labels is not None and len(labels) > 1,
            "one restart, as the label-free scores of different numbers of clusters cannot be compared": self.restarts
            > 1,
        }
        for reason, broken in wrong.items():
            if broken:
                raise UserError(f"model.experts is auto, but that works with {reason}; set a number.")

    def _check_shares(self, labels: Sequence[str]) -> None:
        clusters, unknown = self.clusters(labels), sorted((self.model.clusters or {}).keys() - set(labels))
        if unknown:
            raise UserError(
                f"model.clusters has {unknown[0]!r}, but the coarse labels are {', '.join(labels)}; use these."
            )
        if sum(clusters) == self.model.experts and min(clusters) > 0:
            return
        if self.model.clusters is None:
            raise UserError(
                f"model.experts is {self.model.experts}, which cannot be shared out evenly among the coarse labels "
                f"{', '.join(labels)}; choose another number, or give each label its own by model.clusters."
            )
        raise UserError(
            f"model.clusters gives the coarse labels {', '.join(map(str, clusters))} clusters, but each needs one or "
            f"more, {self.model.experts} in all as model.experts says; make them agree."
        )

    def unused(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that have no effect with other choices, each with that choice."""
        yield from super().unused()
        how = self.clustering
        if how.start == "kmeans":
            yield "clustering.neighbours", "clustering.start kmeans"
        if how.start != "manifold":
            yield "clustering.manifolds", f"clustering.start {how.start}"
        if self.augmentation == Augmentation():
            yield "clustering.rebuild", "no augmentation, where a view is the image"
        if self.model.experts == AUTO:
            yield "model.clusters", "model.experts auto"
        if self.pretraining.epochs == 0:
            yield "pretraining.learning_rate", "pretraining.epochs 0"


RECIPE = DeepClusteringRecipe

# Keys that are read only after the pre-training, None for all of a part; any values go with a pre-trained network.
AFTER_PRETRAINING: Mapping[str, Sequence[str] | None] = {
    "restarts": None,
    "optimisation": ("epochs", "learning_rate"),
    "clustering": ("loss", "weight", "imitation", "refresh", "tolerance"),
    "reference": None,
}
