"""The recipe of the method ``clustnet``. Nothing here needs torch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from clustnet.errors import UserError
from training.models.config import MixtureModel
from training.recipe.parts import BelowOne, Count, Epochs, Part, Share
from training.recipe.recipe import BaseRecipe, Optimisation, Pretraining

# The mean number of images in the clusters of a coarse label, where the recipe does not set their number.
ENOUGH_IMAGES = 25
# What images are compared by without an encoder.
OWN_REPRESENTATIONS = ("pixels", "edges", "patches")


class LossWeights(Part):
    """Weights of optional terms, added to the negative log-likelihood; the first two are the original's.

    Args:
        routing_entropy: weight of each image's routing entropy; positive makes the gate decide.
        routing_diversity: weight of the entropy of a batch's mean routing; positive rewards diversity.
        mutual_information: weight of the mutual information, within each coarse label, between the experts
            of two random views of an image; positive rewards it.
    """

    routing_entropy: float = 0.0
    routing_diversity: float = 0.0
    mutual_information: float = 0.0


class MixtureLoss(LossWeights):
    """The loss of gate and experts.

    Args:
        shares: how large the mutual information expects the experts' shares of a coarse label to be: ``even``, or as
            in the initial ``partition``.
    """

    shares: Literal["even", "partition"] = "even"


class MixtureOptimisation(Optimisation):
    """How gate and experts are optimised.

    Args:
        batch_size: images a step.
        optimizer: ``adam`` or ``sgd``.
        momentum: momentum of ``sgd``.
        batch_period: 0 steps gate and experts together; otherwise so many batches step the gate alone,
            then as many the experts, and so on.
        epoch_steps: steps of an epoch at least; it takes images again where they are few.
        average_over: the share of the steps of gate and experts that the exponential moving average of the weights
            spans, which is scored and exported; 0 takes the weights as they are.
    """

    batch_size: Count = 64
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: BelowOne = 0.0
    batch_period: Annotated[int, Field(ge=0)] = 0
    epoch_steps: Count = 1
    average_over: Share = 0.0


class PartitionConfig(Part):
    """The initial partition, which the gate imitates before it is trained; 0 epochs leave it out.

    Args:
        epochs: each of as many steps as another epoch, of the images of the partition.
        images: images of each coarse label that are partitioned.
        clusters: of each coarse label, ``{label: number}``, at most E; by default E, or one for every
            ``ENOUGH_IMAGES`` images where these are fewer.
        representations: what the images are compared by: some of ``OWN_REPRESENTATIONS``, and encoders as of
            ``clustnet.encoders.find_encoder``. An encoder that has seen the classes leaks them.
    """

    epochs: Epochs = 0
    images: Count = 8000
    clusters: dict[str, Count] | None = None
    representations: Annotated[tuple[str, ...], Field(min_length=1)] = OWN_REPRESENTATIONS


def check_clusters(clusters: Mapping[str, int], experts: int, labels: Sequence[str] | None) -> None:
    """Raise unless each number of clusters is of a coarse label and not over the number of experts.

    Args:
        clusters: numbers of clusters by coarse label, as ``partition.clusters`` gives them.
        experts: how many there are.
        labels: the names of the K coarse labels; None while they are not known.

    Raises:
        UserError: says which number is wrong.
    """
    for label, count in clusters.items():
        if count > experts:
            raise UserError(
                f"partition.clusters gives {label!r} {count} clusters, but there are only {experts} experts; "
                "set model.experts to the largest."
            )
        if labels is not None and label not in labels:
            raise UserError(
                f"partition.clusters has {label!r}, but the coarse labels are {', '.join(labels)}; use these."
            )


def _check_representations(names: Sequence[str]) -> None:
    """Raise where a representation is there twice, or is neither our own nor an encoder."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"partition.representations has {name!r} {names.count(name)} times; name it once.")
        if name in OWN_REPRESENTATIONS:
            continue
        # Here, so that a recipe without encoders does not load onnxruntime.
        from clustnet.encoders import find_encoder

        try:
            find_encoder(name)
        except UserError as error:
            own = ", ".join(OWN_REPRESENTATIONS)
            raise UserError(f"partition.representations has {name!r}, which is none of {own}. {error}") from None


class MixtureRecipe(BaseRecipe):
    """What the recipes of a gate over learning experts share.

    Args:
        routing: ``soft`` combines the experts by the routing distribution, ``hard`` takes one an image.
    """

    routing: Literal["soft", "hard"] = "soft"

    @property
    def hard(self) -> bool:
        """Whether one expert alone decides about an image, instead of all by their routing."""
        return self.routing == "hard"


class ClustNetRecipe(MixtureRecipe):
    """Everything that decides a run of ``clustnet``.

    Args:
        model: the gate and its experts.
        loss: the loss of gate and experts.
        optimisation: how gate and experts are optimised.
        partition: what the gate imitates first.
        pretraining: the pre-training of the gate's encoder.
    """

    method: Literal["clustnet"] = "clustnet"
    model: MixtureModel = MixtureModel()
    loss: MixtureLoss = MixtureLoss()
    optimisation: MixtureOptimisation = MixtureOptimisation()
    partition: PartitionConfig = PartitionConfig()
    pretraining: Pretraining = Pretraining()

    @property
    def uses_manifold(self) -> bool:
        """Whether UMAP is needed, which is looked for before the training."""
        return self.partition.epochs > 0

    def clusters(self, labels: Sequence[str], images: Sequence[int] = ()) -> tuple[int, ...]:
        """Return how many clusters each coarse label should have, by default as many as there are experts.

        Where the recipe sets no number, a label has at most one cluster for every ``ENOUGH_IMAGES`` images.
        """
        if images and self.partition.clusters is None and self.partition.epochs:
            enough = (min(count, self.partition.images) // ENOUGH_IMAGES for count in images)
            return tuple(max(1, min(count, self.model.experts)) for count in enough)
        return tuple((self.partition.clusters or {}).get(label, self.model.experts) for label in labels)

    def check(self, labels: Sequence[str] | None) -> None:
        """Refuse clusters that have no label or too few experts, and a single label of which nothing is learnt.

        An encoder that is missing, or a representation that is there twice, is refused, too.

        Raises:
            UserError: says which key is wrong.
        """
        check_clusters(self.partition.clusters or {}, self.model.experts, labels)
        _check_representations(self.partition.representations)
        if self.loss.shares == "partition" and self.loss.mutual_information and self.partition.epochs == 0:
            raise UserError(
                "loss.shares is partition, but there is no initial partition; set partition.epochs above 0, or "
                "loss.shares to even."
            )
        learns = self.loss.mutual_information or self.partition.epochs
        if labels is not None and len(labels) == 1 and not learns:
            raise UserError(
                f"there is only one coarse label, {labels[0]!r}, from which the experts cannot learn; set "
                "loss.mutual_information or partition.epochs above 0, or give coarse labels."
            )

    def unused(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that other choices leave without use, each with the choice."""
        yield from super().unused()
        if self.optimisation.optimizer != "sgd":
            yield "optimisation.momentum", f"optimisation.optimizer {self.optimisation.optimizer}"
        if self.model.expert != "small_cnn":
            yield "model.expert_channels", f"model.expert {self.model.expert}"
        if self.partition.epochs == 0:
            yield from ((f"partition.{key}", "partition.epochs 0") for key in ("images", "clusters"))
        if self.loss.mutual_information == 0:
            yield "loss.shares", "loss.mutual_information 0"
        if self.pretraining.epochs == 0:
            yield "pretraining.learning_rate", "pretraining.epochs 0"


RECIPE = ClustNetRecipe
