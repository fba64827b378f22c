"""The method ``discovered``: that of ``clustnet`` on pixels, with a partition that was made before.

``clustnet discover`` uses it where no encoder does better than pixels.
"""

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from training.data.data import CoarseData
from training.data.partition_file import NONE, read_partition, training_files
from training.methods.clustnet.method import ClustNetMethod
from training.methods.clustnet.pairing import paired
from training.methods.discovered.config import DiscoveredRecipe


class DiscoveredMethod(ClustNetMethod):
    """Gate and experts in training; arguments as of ``ClustNetMethod``."""

    def __init__(self, data: CoarseData, recipe: DiscoveredRecipe, accelerator: Accelerator) -> None:
        super().__init__(data, recipe, accelerator)
        self._given = recipe

    def _make_partition(self) -> dict[str, Tensor]:
        """Return the partition of the file; clusters that are told apart easily share an expert."""
        recipe = self._given
        assert recipe.data.path is not None  # noqa: S101 - the data were loaded from it
        files = training_files(recipe.data.path)[: len(self.data.images)]
        clusters = read_partition(recipe.partition.file, files)
        generator = np.random.default_rng(recipe.seed)
        coarse = self.data.coarse.cpu().numpy()
        members = [np.flatnonzero((coarse == label) & (clusters != NONE)) for label in range(self.data.label_count)]
        pixels = [self.data.images[torch.from_numpy(member)].flatten(1).float().div(255).numpy() for member in members]
        counts = [int(clusters[member].max(initial=0)) + 1 for member in members]
        experts = paired(pixels, [clusters[member] for member in members], counts, generator)
        return {
            "indices": torch.from_numpy(np.concatenate(members)),
            "experts": torch.from_numpy(np.concatenate(experts)),
        }


METHOD = DiscoveredMethod
