"""The recipe of the method ``embedding_clustnet``. Nothing here needs torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from clustnet.errors import UserError
from training.methods.clustnet.config import LossWeights, MixtureRecipe, check_clusters
from training.models.config import EmbeddingModel
from training.recipe.parts import Count, Part, Positive
from training.recipe.recipe import FOLDER, PREPARATION_KEYS, EncoderChoice, Optimisation


class HeadsOptimisation(Optimisation):
    """How gate and experts are optimised.

    Args:
        epochs: number of epochs after those of the partition.
        epoch_steps: least number of steps per epoch; images are repeated if there are too few.
        learning_rate: step size of Adam.
        schedule: ``cosine`` lowers the step size to 0 over all epochs.
        batch_size: images per step.
    """

    epochs: Count = 4
    epoch_steps: Count = 300
    learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    batch_size: Count = 128


class EmbeddingPartition(Part):
    """The initial partition, which the gate imitates before it is trained.

    Args:
        epochs: epochs of imitation.
        images: largest number of images of each coarse label that are partitioned, if there is no file.
        clusters: number of clusters of each coarse label, ``{label: number}``, at most E; E by default.
        file: a partition that was made before: a table with the columns ``file``, relative to the folder of the data,
            and ``cluster``, numbered from 0 within each coarse label.
    """

    epochs: Count = 6
    images: Count = 8000
    clusters: dict[str, Count] | None = None
    file: Path | None = None


class EmbeddingClustNetRecipe(MixtureRecipe):
    """Everything that decides a run of ``embedding_clustnet``.

    Args:
        model: the encoder, the gate and its experts.
        loss: the weights of the loss's terms.
        optimisation: how gate and experts are optimised.
        partition: what the gate imitates first.
    """

    method: Literal["embedding_clustnet"] = "embedding_clustnet"
    model: EmbeddingModel = EmbeddingModel()
    loss: LossWeights = LossWeights(mutual_information=0.3)
    optimisation: HeadsOptimisation = HeadsOptimisation()
    partition: EmbeddingPartition = EmbeddingPartition()

    @property
    def uses_manifold(self) -> bool:
        """Whether UMAP is needed; it is looked for before the training."""
        return self.partition.file is None

    @property
    def encoder(self) -> EncoderChoice | None:
        """The encoder whose embeddings are trained on."""
        return EncoderChoice(self.model.encoder, self.model.size, self.model.views)

    def clusters(self, labels: Sequence[str], images: Sequence[int] = ()) -> tuple[int, ...]:  # noqa: ARG002
        """Return how many clusters each coarse label should have, by default as many as there are experts."""
        return tuple((self.partition.clusters or {}).get(label, self.model.experts) for label in labels)

    def check(self, labels: Sequence[str] | None) -> None:
        """Refuse data that are not a folder, and clusters of an unknown coarse label or more of them than experts.

        Raises:
            UserError: says which key is wrong.
        """
        if self.data.name != FOLDER:
            raise UserError(
                f"data.name is {self.data.name}, but the method embedding_clustnet embeds image files; set data.name "
                f"to {FOLDER} and data.path to a folder of images."
            )
        check_clusters(self.partition.clusters or {}, self.model.experts, labels)

    def unused(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that have no effect with other choices, each with that choice."""
        yield from super().unused()
        yield from ((key, "an encoder, which decides it") for key in PREPARATION_KEYS)
        yield from (
            (f"augmentation.{key}", "an encoder, whose views are random crops")
            for key in type(self.augmentation).model_fields
        )
        yield "optimisation.precision", "an encoder, behind which little is computed"
        if self.model.expert != "projection":
            yield "model.expert_inputs", f"model.expert {self.model.expert}"
        if self.partition.file is not None:
            yield "partition.images", "partition.file"


RECIPE = EmbeddingClustNetRecipe
