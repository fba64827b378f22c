"""The initial partition: each coarse group parted into as many clusters as it has classes, without fine labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clustnet.errors import UserError
from training.data.data import CoarseData
from training.methods.clustnet.candidates import Candidate, candidates
from training.methods.clustnet.pairing import paired
from training.methods.clustnet.representations import Floats, coarse_error, reduced, represent

LEAST_IMAGES = 10  # a cluster

__all__ = ["Partition", "Trial", "partition"]

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """Images and the experts that should see them.

    Args:
        indices: int64 [M], which training images.
        experts: int64 [M], 0 to E - 1, one expert an image.
    """

    indices: Labels
    experts: Labels


@dataclass(frozen=True)
class Trial:
    """How the partition was chosen; nothing in it comes from fine labels.

    Args:
        errors: for each representation how often an image's neighbours are of the other coarse group.
        candidates: for each group all candidates, the chosen one first.
    """

    errors: dict[str, float]
    candidates: tuple[list[Candidate], list[Candidate]]

    def lines(self, labels: Sequence[str]) -> list[str]:
        """Return what a person should see of it.

        Args:
            labels: the names of the two groups.
        """
        errors = "  ".join(f"{name} {error:.3f}" for name, error in self.errors.items())
        return [f"partition: neighbours of the other group  {errors}"] + [
            f"partition of {label}: " + "  ".join(f"{found.name} {found.agreement:.3f}" for found in group)
            for label, group in zip(labels, self.candidates, strict=True)
        ]


def partition(data: CoarseData, clusters: tuple[int, ...], images: int, seed: int) -> tuple[Partition, Trial]:
    """Part a sample of each coarse group into clusters and give each cluster an expert.

    Only the images and the coarse labels are read; ``candidates`` says how the clusters are chosen.

    Args:
        data: images and coarse labels.
        clusters: how many each of the two groups is parted into; the larger is E.
        images: the sample's size in each group, or all if it has fewer.
        seed: of the sample and everything after it.

    Raises:
        UserError: a coarse group with too few images to be parted.
    """
    generator = np.random.default_rng(seed)
    targets = data.targets.cpu().numpy()
    _check_size(targets, clusters, images)
    chosen = np.concatenate([_sample(np.flatnonzero(targets == label), images, generator) for label in (0, 1)])
    rows = represent(data.images[torch.from_numpy(chosen)], seed)
    trial = _try(rows, targets[chosen], clusters, seed)
    first, second = (found[0].clusters for found in trial.candidates)
    pixels = (rows["pixels"][: len(first)], rows["pixels"][len(first) :])
    experts = paired(pixels, (first, second), clusters, generator)
    return Partition(chosen, np.concatenate(experts)), trial


def _try(
    representations: dict[str, Floats], targets: NDArray[np.float32], clusters: tuple[int, ...], seed: int
) -> Trial:
    """Cluster each group in every representation; ``targets`` are the rows' coarse labels."""
    errors = {name: coarse_error(reduced(rows, seed), targets, seed) for name, rows in representations.items()}
    weights = {name: min(errors.values()) / error for name, error in errors.items()}
    first, second = (
        candidates({name: rows[targets == label] for name, rows in representations.items()}, weights, count, seed)
        for label, count in enumerate(clusters)
    )
    return Trial(errors, (first, second))


def _check_size(targets: NDArray[np.float32], clusters: tuple[int, ...], images: int) -> None:
    for label, count in enumerate(clusters):
        found = min(images, int((targets == label).sum()))
        if found < LEAST_IMAGES * count:
            raise UserError(
                f"A coarse group has {found} training images to part, too few for {count} clusters; train on at least "
                f"{LEAST_IMAGES * count} of each group, with partition.images no less, or set partition.epochs to 0."
            )


def _sample(members: Labels, images: int, generator: np.random.Generator) -> Labels:
    return np.sort(generator.choice(members, min(images, len(members)), replace=False))
