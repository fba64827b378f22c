"""Training data in two parts: what a method may see, and the fine classes that only scoring sees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clustnet.datasets import UNKNOWN, LabelledImages, load_folder, load_named
from clustnet.datasets.folder import Reader, folder_input
from clustnet.datasets.folder_layout import REFERENCE, folder_names, has_split
from clustnet.errors import UserError
from training.recipe.recipe import Data


@dataclass(frozen=True)
class CoarseData:
    """Everything that a method learns from, which excludes fine classes.

    Args:
        images: [N, H, W] or [N, H, W, C] from 0 to 255, uint8, or float32 for rows of numbers that are not images;
            or an encoder's embeddings, float32 [N, D].
        coarse: int64 [N], coarse labels 0 to K - 1.
        labels: the names of the K coarse labels.
        mean: mean of each channel, of pixels scaled to 0..1.
        std: standard deviation of each channel, likewise.
        views: float32 [N, V, D], embeddings of V random views of each image; None for images, whose views are made
            during training.
        encoder_sha256: SHA-256 of the encoder's graph; None without an encoder.
    """

    images: Tensor
    coarse: Tensor
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    views: Tensor | None = None
    encoder_sha256: str | None = None

    @property
    def label_count(self) -> int:
        """K, how many coarse labels there are."""
        return len(self.labels)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many images each of the K coarse labels has."""
        return tuple(torch.bincount(self.coarse, minlength=self.label_count).tolist())

    def to(self, device: torch.device) -> "CoarseData":
        """Return the data on a device."""
        views = None if self.views is None else self.views.to(device)
        return replace(self, images=self.images.to(device), coarse=self.coarse.to(device), views=views)

    def take(self, chosen: slice) -> "CoarseData":
        """Return some of the images with their coarse labels and views."""
        views = None if self.views is None else self.views[chosen]
        return replace(self, images=self.images[chosen], coarse=self.coarse[chosen], views=views)

    def batches(
        self, size: int, generator: torch.Generator, among: NDArray[np.int64] | None = None
    ) -> tuple[Tensor, ...]:
        """Return the indices of batches of ``size`` images, each image once, in the generator's order.

        Args:
            size: images per batch; the last may have fewer, or one more where a single image would be left over.
            generator: decides the order.
            among: int64 [M], the indices of the images to take; all by default.
        """
        indices = torch.arange(len(self.images)) if among is None else torch.from_numpy(among)
        order = torch.randperm(len(indices), generator=generator)
        found = torch.split(indices[order].to(self.images.device), size)
        # Batch normalisation cannot take one image alone.
        if len(found) > 1 and len(found[-1]) == 1:
            found = (*found[:-2], torch.cat(found[-2:]))
        return found


@overload
def load_split(data: Data, split: Literal["train"], reader: Reader | None = None) -> LabelledImages: ...


@overload
def load_split(data: Data, split: Literal["test"], reader: Reader | None = None) -> LabelledImages | None: ...


def load_split(data: Data, split: Literal["train", "test"], reader: Reader | None = None) -> LabelledImages | None:
    """Load one split of a recipe's data, with the coarse labels that the recipe names; None if there is no test split.

    Args:
        data: the recipe's data.
        split: the split.
        reader: for a folder, turns its files into something other than images, such as embeddings.

    Raises:
        UserError: files are missing or damaged, there are fewer images than the recipe requests, or the data do not
            have its coarse labels.
    """
    wanted = data.train_images if split == "train" else data.test_images
    if data.name != "folder":
        labelled = load_named(data.name, split, data.path)
    elif split == "test" and not has_split(data.path, split):
        return None
    else:
        labelled = _load_folder(data, split, wanted, reader)
    if wanted is not None and wanted > len(labelled):
        raise UserError(
            f"data.{split}_images is {wanted}, but {data.name} has {len(labelled)}; lower it, or leave it out for all."
        )
    if split == "test":
        return _grouped(data, labelled.sample(wanted))
    first = labelled.first(wanted)
    return _grouped(data, _counted(first, data.train_counts) if data.train_counts else first)


def _counted(labelled: LabelledImages, counts: Sequence[int]) -> LabelledImages:
    """Return the first ``counts[c]`` images of each fine class c, in their order.

    Raises:
        UserError: there is not one count per class, or a class has fewer images.
    """
    found = np.bincount(labelled.fine[labelled.fine != UNKNOWN], minlength=len(labelled.classes))
    if len(counts) != len(labelled.classes) or (found < counts).any():
        raise UserError(
            f"data.train_counts is {', '.join(map(str, counts))}, but {labelled.name} has classes of "
            f"{', '.join(map(str, found.tolist()))} training images; give one number per class, none of them larger."
        )
    members = [np.flatnonzero(labelled.fine == fine)[:count] for fine, count in enumerate(counts)]
    return labelled.take(np.sort(np.concatenate(members)))


def load_reference(data: Data, train: LabelledImages, reader: Reader | None = None) -> LabelledImages | None:
    """Return the labelled images that may name subtypes: ``reference/`` of a folder, else the training images.

    Args:
        data: the recipe's data.
        train: their training split.
        reader: as for ``load_split``.

    Returns:
        The images; None if a folder has no ``reference/``, or if the fine classes of the training images are unknown.

    Raises:
        UserError: images of ``reference/`` cannot be read.
    """
    if data.name != "folder":
        return train if train.labelled else None
    return _grouped(data, _load_folder(data, REFERENCE, reader=reader)) if has_split(data.path, REFERENCE) else None


def hold_out(data: CoarseData, images: int) -> tuple[CoarseData, CoarseData]:
    """Return the images to train on and the last ``images`` to validate on; for 0, all of them for both.

    Raises:
        UserError: nothing would be left to train on, or one of the two would lack a coarse label.
    """
    if images == 0:
        return data, data
    if images >= len(data.images):
        raise UserError(
            f"data.validation_images is {images}, but there are {len(data.images)} training images; hold out fewer."
        )
    kept = len(data.images) - images
    parts = data.coarse[:kept], data.coarse[kept:]
    for label in range(data.label_count):
        held = [bool((part == label).any()) for part in parts]
        if any(held) and not all(held):
            raise UserError(
                f"data.validation_images is {images}, but the last {images} training images or those before them have "
                f"none of the coarse label {data.labels[label]!r}; hold out another number, or none."
            )
    return data.take(slice(kept)), data.take(slice(kept, None))


def hide_fine_labels(labelled: LabelledImages) -> CoarseData:
    """Return the images with their coarse labels alone."""
    return CoarseData(
        torch.from_numpy(labelled.images.copy()),
        torch.from_numpy(labelled.coarse.copy()),
        labelled.coarse_labels,
        labelled.mean,
        labelled.std,
    )


def _load_folder(data: Data, split: str, count: int | None = None, reader: Reader | None = None) -> LabelledImages:
    """Load a split of a folder of images in the size and with the channels that the recipe requests."""
    colour = None if data.colour == "auto" else data.colour
    # Not for a reader, which does without: finding out whether there is any colour means reading every file.
    spec = None if reader else folder_input(data.path, data.size, colour, data.preparation, data.aspect)
    names = folder_names(data.path, given=data.coarse == "given")
    return load_folder(split, data.path, spec, names, count, reader)


def _grouped(data: Data, labelled: LabelledImages) -> LabelledImages:
    """Return images with the coarse labels that the recipe names, or with those that came with them."""
    grouping = data.grouping(labelled.classes)
    return labelled if grouping is None else labelled.grouped(grouping)
