"""The initial partition: the images of each coarse label in as many clusters as it has classes, without fine labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clustnet.errors import UserError
from training.data.data import CoarseData
from training.engine.progress import steps
from training.methods.clustnet.candidates import Candidate, candidates, steps_of
from training.methods.clustnet.config import OWN_REPRESENTATIONS
from training.methods.clustnet.pairing import paired
from training.methods.clustnet.representations import Floats, coarse_error, reduced, represent

# Images that each cluster needs.
LEAST_IMAGES = 10

__all__ = ["Partition", "Trial", "partition"]

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """Images and the experts that should see them.

    Args:
        indices: indices of training images, int64 [M].
        experts: expert of each of these images, int64 [M], 0 to E - 1.
    """

    indices: Labels
    experts: Labels


@dataclass(frozen=True)
class Trial:
    """How the partition was chosen; nothing in it comes from fine labels.

    Args:
        errors: how often an image's neighbours have another coarse label, for each representation; empty for K = 1.
        candidates: all candidates of each coarse label, the chosen one first.
    """

    errors: dict[str, float]
    candidates: tuple[list[Candidate], ...]

    def lines(self, labels: Sequence[str]) -> list[str]:
        """Return the lines that are printed of it.

        Args:
            labels: the names of the coarse labels.
        """
        errors = "  ".join(f"{name} {error:.3f}" for name, error in self.errors.items())
        return [f"partition: neighbours of another coarse label  {errors}"] * bool(errors) + [
            f"partition of {label} in {group[0].clusters.max() + 1} clusters (agreement, silhouette): "
            + "  ".join(f"{found.name} {found.agreement:.3f}, {found.silhouette:.3f}" for found in group)
            for label, group in zip(labels, self.candidates, strict=True)
        ]


def partition(
    data: CoarseData,
    clusters: Sequence[int],
    images: int,
    seed: int,
    representations: Sequence[str] = OWN_REPRESENTATIONS,
) -> tuple[Partition, Trial]:
    """Cluster a sample of the images of each coarse label and give each cluster an expert.

    Only the images and the coarse labels are read; ``candidates`` says how the clusters are chosen, ``paired`` how
    clusters of different coarse labels share experts.

    Args:
        data: images and coarse labels.
        clusters: number of clusters of each of the K coarse labels, each at most E.
        images: size of the sample of each coarse label; all of its images if it has fewer.
        seed: seeds the sample and everything after it.
        representations: what the images are compared by.

    Raises:
        UserError: a coarse label has too few images, or the images are too small.
    """
    generator = np.random.default_rng(seed)
    coarse = data.coarse.cpu().numpy()
    for label, count in enumerate(clusters):
        _check_size(data.labels[label], min(images, int((coarse == label).sum())), count)
    samples = [_sample(np.flatnonzero(coarse == label), images, generator) for label in range(len(clusters))]
    chosen = np.concatenate(samples)
    rows = represent(data.images[torch.from_numpy(chosen)], seed, list(dict.fromkeys([*representations, "pixels"])))
    trial = _try({name: rows[name] for name in representations}, coarse[chosen], clusters, seed)
    pixels = np.split(rows["pixels"], np.cumsum([len(sample) for sample in samples])[:-1])
    experts = paired(pixels, [found[0].clusters for found in trial.candidates], clusters, generator)
    return Partition(chosen, np.concatenate(experts)), trial


def _try(representations: dict[str, Floats], coarse: Labels, clusters: Sequence[int], seed: int) -> Trial:
    """Cluster the rows of each coarse label in every representation; ``coarse`` are the rows' coarse labels."""
    errors = {}
    weights = dict.fromkeys(representations, 1.0)
    if len(clusters) > 1:
        errors = {name: coarse_error(reduced(rows, seed), coarse, seed) for name, rows in representations.items()}
        weights = {name: min(errors.values()) / error for name, error in errors.items()}
    with steps(len(clusters) * steps_of(len(representations)), "partition") as bar:
        found = [
            candidates(_of(representations, coarse == label), weights, count, seed, bar.update)
            for label, count in enumerate(clusters)
        ]
    return Trial(errors, tuple(found))


def _of(representations: dict[str, Floats], members: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return the rows of some images in every representation."""
    return {name: rows[members] for name, rows in representations.items()}


def _check_size(label: str, images: int, clusters: int) -> None:
    """Raise if a coarse label has too few images for its clusters."""
    if images < LEAST_IMAGES * clusters:
        raise UserError(
            f"The coarse label {label!r} has {images} training images for the initial partition, too few for "
            f"{clusters} clusters; train on at least {LEAST_IMAGES * clusters} of each coarse label, with "
            "partition.images no less, or set partition.epochs to 0."
        )


def _sample(members: Labels, images: int, generator: np.random.Generator) -> Labels:
    return np.sort(generator.choice(members, min(images, len(members)), replace=False))
