"""The recipe of the method ``deepcluster``. Nothing here needs torch."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from clustnet.errors import UserError
from training.models.config import ConvNetModel
from training.recipe.parts import BelowOne, Count, NotNegative, Part, Positive
from training.recipe.recipe import Augmentation, BaseRecipe, Optimisation, Side

# Pixels of alexnet_small's smallest view.
SMALLEST_VIEW = 8


class Assignment(Part):
    """How images are assigned to clusters, which are then learnt as labels.

    Args:
        every: epochs between two assignments.
        components: for version 1, number of whitened principal components of the features that are clustered.
        iterations: iterations of k-means.
        starts: starts of k-means, of which the tightest is kept.
    """

    every: Count = 1
    components: Count = 256
    iterations: Count = 20
    starts: Count = 1


class Views(Part):
    """Random views of an image.

    Args:
        sizes: height and width in pixels of each view; by default the image's shorter side, once for version 1 and
            twice for version 2. Version 2 clusters by the views of the first size.
    """

    sizes: Annotated[tuple[Side, ...], Field(min_length=1)] | None = None


class PseudoLabelOptimisation(Optimisation):
    """How the network is optimised, by SGD with momentum.

    Args:
        learning_rate: step size.
        schedule: ``cosine`` lowers the step size to 0 over all epochs, including the steps of ``warm_up``.
        batch_size: images per step.
        momentum: momentum of SGD.
        weight_decay: weight decay of all weights.
        warm_up: steps in which the step size rises from 0.
        score_every: epochs between two rows of scores, each with its checkpoint; the last epoch always has one.
    """

    learning_rate: Positive = 0.1
    schedule: Literal["constant", "cosine"] = "cosine"
    batch_size: Annotated[int, Field(ge=2)] = 128
    momentum: BelowOne = 0.9
    weight_decay: NotNegative = 1e-4
    warm_up: Annotated[int, Field(ge=0)] = 50
    score_every: Count = 1


class DeepClusterRecipe(BaseRecipe):
    """Everything that decides a run of ``deepcluster``.

    Args:
        model: the network and its clusters.
        assignment: how clusters are found.
        views: the random views that are trained on; ``augmentation`` says how far they go.
        optimisation: how the network is optimised.
    """

    method: Literal["deepcluster"] = "deepcluster"
    model: ConvNetModel = ConvNetModel()
    assignment: Assignment = Assignment()
    views: Views = Views()
    augmentation: Augmentation = Augmentation(crop=0.8, flip=0.5)
    optimisation: PseudoLabelOptimisation = PseudoLabelOptimisation()

    def clusters(self, labels: Sequence[str], images: Sequence[int] = ()) -> tuple[int, ...]:
        """Return how many clusters each coarse label has: in proportion to its images, and at least one."""
        shares = list(images) or [1] * len(labels)
        found = [1] * len(labels)
        for _ in range(self.model.experts - len(labels)):
            # To the label with the most images per cluster.
            place = max(range(len(labels)), key=lambda label: shares[label] / found[label])
            found[place] += 1
        return tuple(found)

    def check(self, labels: Sequence[str] | None) -> None:
        """Refuse fewer clusters than coarse labels, several views for version 1, and views that are too small.

        Raises:
            UserError: says which key is wrong.
        """
        if labels is not None and self.model.experts < len(labels):
            raise UserError(
                f"model.experts is {self.model.experts}, but each of the {len(labels)} coarse labels needs "
                "a cluster; raise it."
            )
        sizes = self.views.sizes or ()
        if self.model.version == 1 and len(sizes) > 1:
            raise UserError(
                f"views.sizes has {len(sizes)} views, but version 1 takes one view of an image; name one size, or set "
                "model.version to 2."
            )
        if sizes and min(sizes) < SMALLEST_VIEW:
            raise UserError(
                f"views.sizes has {min(sizes)}, but a view has {SMALLEST_VIEW} pixels or more on a side; raise it."
            )

    def unused(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that have no effect with other choices, each with that choice."""
        yield from super().unused()
        if self.model.network != "alexnet_small":
            yield from ((f"model.{key}", f"model.network {self.model.network}") for key in ("channels", "embedding"))
        if self.model.version == 1:
            yield from ((f"model.{key}", "model.version 1") for key in ("projection", "temperature"))
        else:
            yield "assignment.components", "model.version 2"


RECIPE = DeepClusterRecipe
