"""The initial partition: each coarse group parted into as many clusters as there are experts, without labels.

PCA, then UMAP (McInnes, Healy, Melville, arXiv:1802.03426), then a Gaussian mixture. Which cluster of one group
shares an expert with which of the other is free; those are paired that a weak classifier tells apart best.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

from clustnet.errors import UserError
from training.data import CoarseData

PRINCIPAL_COMPONENTS = 50
UMAP_COMPONENTS = 5
NEIGHBOURS = 20
MIXTURE_STARTS = 5
LEAST_IMAGES = 10  # a cluster
PAIRING_IMAGES = 300  # of each cluster, half of them to fit and half to score

Pixels = NDArray[np.float32]
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


def partition(data: CoarseData, experts: int, images: int, seed: int) -> Partition:
    """Part a sample of each coarse group into clusters and give each cluster an expert.

    Args:
        data: images and coarse labels.
        experts: E, clusters of each group.
        images: the sample's size in each group, or all if it has fewer.
        seed: of the sample and everything after it.

    Raises:
        UserError: a coarse group with too few images to be parted.
    """
    generator = np.random.default_rng(seed)
    targets = data.targets.cpu().numpy()
    fewest = min(int((targets == label).sum()) for label in (0, 1))
    if fewest < LEAST_IMAGES * experts:
        raise UserError(
            f"A coarse group has {fewest} training images, too few for a partition into {experts} clusters; "
            f"train on at least {LEAST_IMAGES * experts} of each group or set partition.epochs to 0."
        )
    chosen = [_sample(np.flatnonzero(targets == label), images, generator) for label in (0, 1)]
    pixels = [_rows(data, index) for index in chosen]
    first, second = (_clusters(group, experts, seed) for group in pixels)
    second = _pairing(pixels, (first, second), experts, generator)[second]
    return Partition(np.concatenate(chosen), np.concatenate([first, second]))


def _rows(data: CoarseData, chosen: Labels) -> Pixels:
    """Return the chosen images flat, float32 [M, pixels], 0 to 1."""
    images = data.images[torch.from_numpy(chosen)].flatten(1).float() / 255
    rows: Pixels = images.cpu().numpy()
    return rows


def _sample(members: Labels, images: int, generator: np.random.Generator) -> Labels:
    return np.sort(generator.choice(members, min(images, len(members)), replace=False))


def _clusters(pixels: Pixels, clusters: int, seed: int) -> Labels:
    """Return the cluster of each image, int64 [N]."""
    from umap import UMAP  # here, because it compiles itself for seconds

    components = min(PRINCIPAL_COMPONENTS, *pixels.shape)
    reduced = PCA(components, random_state=seed).fit_transform(pixels)
    neighbours = min(NEIGHBOURS, len(pixels) - 1)
    umap = UMAP(neighbours, UMAP_COMPONENTS, min_dist=0.0, random_state=seed, n_jobs=1)
    mixture = GaussianMixture(clusters, n_init=MIXTURE_STARTS, random_state=seed)
    threads = torch.get_num_threads()
    embedded = umap.fit_transform(reduced)
    torch.set_num_threads(threads)  # numba sets it for the whole process, and sums depend on it to the last bit
    found: Labels = mixture.fit_predict(embedded).astype(np.int64)
    return found


def _pairing(
    pixels: list[Pixels], clusters: tuple[Labels, Labels], experts: int, generator: np.random.Generator
) -> Labels:
    """Return for each cluster of the second group the cluster of the first that it shares an expert with."""
    samples = [
        [group[generator.permutation(np.flatnonzero(found == cluster))[:PAIRING_IMAGES]] for cluster in range(experts)]
        for group, found in zip(pixels, clusters, strict=True)
    ]
    separable = np.array([[_separability(one, other) for other in samples[1]] for one in samples[0]])
    rows, columns = linear_sum_assignment(separable, maximize=True)
    partner = np.empty(experts, np.int64)
    partner[columns] = rows
    return partner


def _separability(one: Pixels, other: Pixels) -> float:
    """Return how well a linear classifier, the weakest expert, tells two clusters apart: held-out accuracy."""
    images, labels = np.concatenate([one, other]), np.repeat([0, 1], [len(one), len(other)])
    fit, score = np.arange(len(labels)) % 2 == 0, np.arange(len(labels)) % 2 == 1
    if len(np.unique(labels[fit])) < 2:
        return 0.0
    weak = LogisticRegression(C=0.01).fit(images[fit], labels[fit])
    return float(weak.score(images[score], labels[score]))
