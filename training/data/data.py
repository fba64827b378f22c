"""Training data in two halves: what a method may see, and the fine labels that only scoring sees."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.datasets import MNIST

from clustnet.datasets import LabelledImages, load_folder, load_named
from clustnet.datasets.folder import REFERENCE, grey
from clustnet.datasets.mnist import CLASSES, MEAN, STD, unpacked
from clustnet.errors import UserError
from training.recipe.recipe import Data


@dataclass(frozen=True)
class CoarseData:
    """All that a method learns from; fine labels are not in it.

    Args:
        images: uint8 [N, H, W] or [N, H, W, C].
        targets: float32 [N], coarse labels 0 or 1; all 0 where there are none.
        mean: per channel, of pixels scaled to 0..1.
        std: per channel, likewise.
    """

    images: Tensor
    targets: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to(self, device: torch.device) -> "CoarseData":
        """Return the data on a device."""
        return CoarseData(self.images.to(device), self.targets.to(device), self.mean, self.std)

    def batches(
        self, size: int, generator: torch.Generator, among: NDArray[np.int64] | None = None
    ) -> tuple[Tensor, ...]:
        """Return the indices of ``size`` images a batch, each image once, in the generator's order.

        Args:
            size: images a batch; the last may have fewer, or one more where one would be left alone.
            generator: decides the order.
            among: the images to take, all by default.
        """
        indices = torch.arange(len(self.images)) if among is None else torch.from_numpy(among)
        order = torch.randperm(len(indices), generator=generator)
        parts = torch.split(indices[order].to(self.images.device), size)
        if len(parts) > 1 and len(parts[-1]) == 1:  # batch normalisation cannot take one image alone
            parts = (*parts[:-2], torch.cat(parts[-2:]))
        return parts


def load_split(data: Data, split: str) -> LabelledImages:
    """Load one split of a recipe's data with its fine labels.

    Raises:
        UserError: files that are missing or damaged, or fewer images than the recipe asks for.
    """
    labelled = LOADERS.get(data.name, _load_other)(data, split)
    wanted = data.train_images if split == "train" else data.test_images
    if wanted is not None and wanted > len(labelled.images):
        raise UserError(
            f"data.{split}_images is {wanted}, but {data.name} has {len(labelled.images)}; lower it, or leave it out "
            "for all."
        )
    return labelled.first(wanted)


def load_reference(data: Data, train: LabelledImages) -> LabelledImages:
    """Return the labelled images that may name cells: ``reference/`` of a folder, else those of the training split.

    Args:
        data: the recipe's.
        train: its training split.

    Raises:
        UserError: images of ``reference/`` that cannot be read.
    """
    return _load_folder(data, REFERENCE) if data.name == "folder" else train


def hold_out(data: CoarseData, images: int) -> tuple[CoarseData, CoarseData]:
    """Return the images to train on and the last ``images`` to validate on; for 0, all of them for both.

    Raises:
        UserError: nothing would be left to train on, or either part would lack a coarse group.
    """
    if images == 0:
        return data, data
    if images >= len(data.images):
        raise UserError(
            f"data.validation_images is {images}, but there are {len(data.images)} training images; hold out fewer."
        )
    kept = len(data.images) - images
    parts = (data.targets[:kept].numpy(), data.targets[kept:].numpy())
    grouped = data.targets.min() != data.targets.max()
    if grouped and any(part.min() == part.max() for part in parts):
        raise UserError(
            f"data.validation_images is {images}, but the last {images} training images or those before them are all "
            "of one coarse group, as the data are sorted by class; hold out another number, or none."
        )
    return (
        replace(data, images=data.images[:kept], targets=data.targets[:kept]),
        replace(data, images=data.images[kept:], targets=data.targets[kept:]),
    )


def hide_fine_labels(labelled: LabelledImages, data: Data) -> CoarseData:
    """Return the images with their coarse labels alone.

    Raises:
        UserError: there are coarse labels, but not of every image is the class told.
    """
    if data.coarse is not None and not labelled.labelled:
        raise UserError(
            "data.coarse names groups of classes, but images of train/ lie in no folder of a class; sort them into "
            "train/CLASS/, or set data.coarse to null."
        )
    targets = data.grouping().coarse(labelled.labels).astype(np.float32)
    images = torch.from_numpy(labelled.images.copy())
    return CoarseData(images, torch.from_numpy(targets), labelled.mean, labelled.std)


def _load_other(data: Data, split: str) -> LabelledImages:
    return load_named(data.name, split, data.path)


def _load_folder(data: Data, split: str) -> LabelledImages:
    """Load a part of a folder of images in the size that the recipe asks for."""
    return load_folder(split, data.path, grey(*data.size))


def _load_mnist(data: Data, split: str) -> LabelledImages:
    """Load MNIST through torchvision, from files whose hashes have been checked."""
    dataset = MNIST(unpacked(data.path), train=split == "train")
    return LabelledImages("mnist", split, dataset.data.numpy(), dataset.targets.numpy(), CLASSES, MEAN, STD)


LOADERS = {"mnist": _load_mnist, "folder": _load_folder}
