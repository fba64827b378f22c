"""The method ``discovered``: that of ``clustnet`` on pixels, with a partition that was made before.

``clustnet discover`` uses it where no encoder does better than pixels.
"""

import csv
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from clustnet.datasets.folder_layout import TRAIN, split_files
from clustnet.errors import UserError
from training.data.data import CoarseData
from training.methods.clustnet.method import ClustNetMethod
from training.methods.clustnet.pairing import paired
from training.methods.discovered.config import DiscoveredRecipe

NONE = -1


class DiscoveredMethod(ClustNetMethod):
    """Gate and experts in training; arguments as of ``ClustNetMethod``."""

    def __init__(self, data: CoarseData, recipe: DiscoveredRecipe, accelerator: Accelerator) -> None:
        super().__init__(data, recipe, accelerator)
        self._given = recipe

    def _make_partition(self) -> dict[str, Tensor]:
        """Return the partition of the file; clusters that are told apart easily share an expert."""
        recipe = self._given
        files = training_files(recipe.data.path)[: len(self.data.images)]
        clusters = read_partition(recipe.partition.file, files)
        generator = np.random.default_rng(recipe.seed)
        coarse = self.data.coarse.cpu().numpy()
        members = [np.flatnonzero((coarse == label) & (clusters != NONE)) for label in range(self.data.label_count)]
        pixels = [self.data.images[torch.from_numpy(member)].flatten(1).float().numpy() / 255 for member in members]
        counts = [int(clusters[member].max(initial=0)) + 1 for member in members]
        experts = paired(pixels, [clusters[member] for member in members], counts, generator)
        return {
            "indices": torch.from_numpy(np.concatenate(members)),
            "experts": torch.from_numpy(np.concatenate(experts)),
        }


def training_files(folder: Path | None) -> list[str]:
    """Return the training images' files, relative to the folder, in the order in which ``load_folder`` loads them."""
    assert folder is not None  # noqa: S101 - the data were loaded from it
    files = split_files(folder, TRAIN)
    order = np.random.default_rng(0).permutation(len(files))
    return [files[place].relative_to(folder).as_posix() for place in order]


def read_partition(path: Path, files: list[str]) -> NDArray[np.int64]:
    """Return the cluster of each file, int64 [N]; -1 where the table does not have it.

    Raises:
        UserError: the table cannot be read, or has none of the files.
    """
    try:
        with path.open(newline="", encoding="utf-8") as table:
            found = {row["file"]: int(row["cluster"]) for row in csv.DictReader(table)}
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"The partition {path} cannot be read ({error}); make it with 'clustnet discover'.") from None
    clusters = np.array([found.get(file, NONE) for file in files], np.int64)
    if (clusters == NONE).all():
        raise UserError(f"The partition {path} has none of the training images; make it with 'clustnet discover'.")
    return clusters


METHOD = DiscoveredMethod
