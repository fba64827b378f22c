"""The images in memory, as the network reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.groups import UNKNOWN
from clustnet.bundles.preparation import prepare
from clustnet.datasets.folder import channel_statistics, read_files
from training.data.embedded import EmbeddedFiles
from training.grow.config import GrowRecipe
from training.grow.hierarchy import Hierarchy, Labels
from training.grow.network import GrownSpec
from training.grow.sources import Item

DEFAULT_SIZE = (64, 64)
EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class GrowImages:
    """All images of a run.

    Args:
        hierarchy: hierarchy of their labels.
        images: uint8 [N, H, W] or [N, H, W, C], or embeddings float32 [N, D].
        leaf: class of each image, int64 [N].
        split: split of each image, str [N].
        spec: spec of a network without modules that reads them.
    """

    hierarchy: Hierarchy
    images: Tensor
    leaf: NDArray[np.int64]
    split: NDArray[np.str_]
    spec: GrownSpec

    def members(self, node: Labels, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the images of a split that belong to a node, and the child that each belongs to, both int64 [M]."""
        child = self.targets[node][self.leaf]
        places = np.flatnonzero((child != UNKNOWN) & (self.split == split))
        return places, child[places]

    @cached_property
    def targets(self) -> dict[Labels, NDArray[np.int64]]:
        """The child of each inner node that each class belongs to, int64 [C]; see ``Hierarchy.targets``."""
        return {node: self.hierarchy.targets(node) for node in self.hierarchy.inner}


def load(
    items: Sequence[Item], hierarchy: Hierarchy, splits: Sequence[str], recipe: GrowRecipe, run: Path
) -> GrowImages:
    """Return the images of a run, read from their files; embeddings are kept in the run's folder.

    Raises:
        UserError: files cannot be read, or the encoder is missing.
    """
    place = {labels: number for number, labels in enumerate(hierarchy.leaves)}
    leaf = np.array([place[item.labels] for item in items], np.int64)
    split, files = np.array(splits), [item.file for item in items]
    if recipe.network.encoder is not None:
        embedded = EmbeddedFiles.of(recipe.network.encoder, recipe.data.size, run / EMBEDDINGS)
        rows = torch.from_numpy(embedded.images(files))
        known = embedded.encoder.spec
        spec = GrownSpec(
            features=rows.shape[1], encoder=recipe.network.encoder, sha256=known.sha256, width=recipe.network.width
        )
        return GrowImages(hierarchy, rows, leaf, split, spec)
    reads = input_of(recipe)
    images = np.empty((len(files), *reads.shape), np.uint8)
    for number, image in enumerate(read_files(files, lambda content: prepare(content, reads))):
        images[number] = image
    mean, std = channel_statistics(images[split == "train"])
    spec = GrownSpec(image_shape=reads.shape, mean=mean, std=std, width=recipe.network.width)
    return GrowImages(hierarchy, torch.from_numpy(images), leaf, split, spec)


def input_of(recipe: GrowRecipe) -> InputSpec:
    """Return the input of a network without an encoder."""
    height, width = recipe.data.size or DEFAULT_SIZE
    return InputSpec(
        shape=(height, width, 3) if recipe.data.colour else (height, width),
        meaning=f"{'RGB' if recipe.data.colour else 'grey'}, 0 to 255",
        preparation=recipe.data.preparation,
        aspect=recipe.data.aspect,
    )
