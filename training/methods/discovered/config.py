"""The recipe of the method ``discovered``. Nothing here needs torch."""

from pathlib import Path
from typing import Literal

from training.methods.clustnet.config import ClustNetRecipe, PartitionConfig
from training.recipe.parts import Epochs


class GivenPartition(PartitionConfig):
    """A partition that was made before, which the gate imitates.

    Args:
        epochs: epochs of imitation.
        file: a table with the columns ``file``, relative to the folder of the data, and ``cluster``, numbered from 0
            within each coarse label.
    """

    epochs: Epochs = 2
    file: Path


class DiscoveredRecipe(ClustNetRecipe):
    """The recipe of ``clustnet``, except for the partition.

    Args:
        partition: what the gate imitates first.
    """

    method: Literal["discovered"] = "discovered"  # type: ignore[assignment]
    partition: GivenPartition

    @property
    def uses_manifold(self) -> bool:
        """Whether UMAP is needed; it is not, as the partition is given."""
        return False


RECIPE = DiscoveredRecipe
