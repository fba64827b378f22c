"""The method ``discovered``: ``clustnet`` on pixels, with a partition that was made before.

``clustnet discover`` uses it where no encoder does better than pixels.
"""

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from training.data.data import CoarseData
from training.data.partition_file import read_partition, training_files
from training.methods.clustnet.method import ClustNetMethod
from training.methods.clustnet.pairing import paired_clusters
from training.methods.discovered.config import DiscoveredRecipe


class DiscoveredMethod(ClustNetMethod):
    """Gate and experts in training; the arguments are those of ``ClustNetMethod``."""

    def __init__(self, data: CoarseData, recipe: DiscoveredRecipe, accelerator: Accelerator) -> None:
        super().__init__(data, recipe, accelerator)
        self._given = recipe

    def _make_partition(self) -> dict[str, Tensor]:
        """Return the partition in the file; clusters that a weak classifier separates well share an expert."""
        recipe = self._given
        assert recipe.data.path is not None  # noqa: S101 - the data were loaded from it
        files = training_files(recipe.data.path)[: len(self.data.images)]
        clusters = read_partition(recipe.partition.file, files)

        def pixels(members: NDArray[np.int64]) -> NDArray[np.float32]:
            rows: NDArray[np.float32] = self.data.images[torch.from_numpy(members)].flatten(1).float().div(255).numpy()
            return rows

        coarse = self.data.coarse.cpu().numpy()
        sizes = self.data.label_count, recipe.model.experts
        indices, experts = paired_clusters(pixels, clusters, coarse, *sizes, recipe.seed)
        return {"indices": torch.from_numpy(indices), "experts": torch.from_numpy(experts)}


METHOD = DiscoveredMethod
