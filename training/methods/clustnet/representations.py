"""What images are compared by: pixels, edges and learnt patches, none of which needs a label, and encoders.

Which of them shows the classes depends on the data; ``coarse_error`` measures how well one separates the coarse labels.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate, one_hot, pad, unfold

from clustnet.bundles.preparation import prepare_image
from clustnet.encoders import open_encoder
from clustnet.encoders.encoder import unit
from clustnet.errors import UserError
from training.methods.clustnet.config import OWN_REPRESENTATIONS

PRINCIPAL_COMPONENTS = 50
# The histograms of gradients: a cell's side in pixels, the number of directions, and the largest value.
CELL, DIRECTIONS, LARGEST_EDGE = 4, 9, 0.2
PATCH, STRIDE, PATCHES = 6, 2, 256
# Patches that are learnt from, in all and of each image; the smaller number counts.
SAMPLED_PATCHES, PATCHES_AN_IMAGE = 40_000, 50
# Added to a patch's variance, so that flat patches stay flat.
FAINT = 10 / 255**2
# Added to the variances before patches are whitened.
WHITENING = 0.1
BATCH = 64
QUERIES, VOTERS = 4000, 10
# Pixels of a side, for two cells of edges; patches need fewer.
SMALLEST_SIDE = 2 * CELL
# Pixels of a side. Larger images are reduced, so that representations of thousands of photographs fit into memory.
LARGEST_SIDE = 64

Floats = NDArray[np.float32]


def represent(images: Tensor, seed: int, names: Sequence[str] = OWN_REPRESENTATIONS) -> dict[str, Floats]:
    """Return the named representations of images as rows, float32 [N, features].

    Images with a side over ``LARGEST_SIDE`` are reduced to it first, with their aspect kept; encoders get them whole.

    Args:
        images: uint8 [N, H, W] or [N, H, W, C].
        seed: seeds the choice of the patches that are learnt from.
        names: some of ``OWN_REPRESENTATIONS``, and names of encoders.

    Raises:
        UserError: a side of the images is under 8 pixels.
    """
    height, width = images.shape[1:3]
    if min(height, width) < SMALLEST_SIDE:
        raise UserError(
            f"The images have {height}x{width} pixels, but the initial partition compares images with sides of "
            f"{SMALLEST_SIDE} or more; give larger images, raise data.size, or set partition.epochs to 0."
        )
    planes = torch.cat([_planes(part) for part in torch.split(images.cpu(), BATCH)])
    own: dict[str, Callable[[], Floats]] = {
        "pixels": lambda: planes.flatten(1).numpy(),
        "edges": lambda: edges(planes),
        "patches": lambda: patches(planes, seed),
    }
    return {name: own[name]() if name in own else embeddings(images.cpu(), name) for name in names}


def embeddings(images: Tensor, encoder: str) -> Floats:
    """Return an encoder's embeddings of images, each of length 1, float32 [N, D].

    Args:
        images: uint8 [N, H, W] or [N, H, W, C]; they are resized to what the encoder reads.
        encoder: name of the encoder.
    """
    embeds = open_encoder(encoder, threads=torch.get_num_threads())
    parts = [
        embeds.embed(np.stack([prepare_image(Image.fromarray(image), embeds.input) for image in part.numpy()]))
        for part in torch.split(images, BATCH)
    ]
    return unit(np.concatenate(parts))


def _planes(images: Tensor) -> Tensor:
    """Return images as planes from 0 to 1, float32 [N, C, H, W], with sides of ``LARGEST_SIDE`` at most."""
    pixels = images.float() / 255
    planes = pixels.unsqueeze(1) if images.dim() == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    longest = max(planes.shape[2:])
    if longest <= LARGEST_SIDE:
        return planes
    size = [max(SMALLEST_SIDE, side * LARGEST_SIDE // longest) for side in planes.shape[2:]]
    return interpolate(planes, size, mode="area")


def reduced(rows: Floats, seed: int) -> Floats:
    """Return the first principal components of rows [N, features], at most 50."""
    components = min(PRINCIPAL_COMPONENTS, *rows.shape)
    found: Floats = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(rows).astype(np.float32)
    return found


def coarse_error(rows: Floats, coarse: NDArray[np.int64], seed: int) -> float:
    """Return how often a vote of an image's ten nearest neighbours misses its coarse label.

    Args:
        rows: float32 [N, features].
        coarse: int64 [N], coarse labels 0 to K - 1.
        seed: seeds the sample of images that neighbours vote on.

    Returns:
        The mean of the labels' errors, smoothed so that it is never 0.
    """
    queries = np.random.default_rng(seed).permutation(len(rows))[:QUERIES]
    voters = NearestNeighbors(n_neighbors=min(VOTERS + 1, len(rows))).fit(rows)
    nearest = voters.kneighbors(rows[queries], return_distance=False)
    # The nearest is the image itself, or its copy.
    votes = one_hot(torch.from_numpy(coarse[nearest[:, 1:]])).sum(dim=1).numpy()
    wrong = votes.argmax(axis=1) != coarse[queries]
    groups = [wrong[coarse[queries] == label] for label in range(coarse.max() + 1)]
    return float(np.mean([(group.sum() + 1) / (len(group) + 2) for group in groups]))


def edges(planes: Tensor) -> Floats:
    """Return histograms of the gradients' directions in small cells, normalised over 2x2 cells.

    Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.

    Args:
        planes: float32 [N, C, H, W]; of several channels the steepest counts.

    Returns:
        float32 [N, features].
    """
    parts = [_edges(part) for part in torch.split(planes, BATCH)]
    return torch.cat(parts).numpy()


def _edges(planes: Tensor) -> Tensor:
    framed = pad(planes, (1, 1, 1, 1), mode="replicate")
    across = framed[:, :, 1:-1, 2:] - framed[:, :, 1:-1, :-2]
    down = framed[:, :, 2:, 1:-1] - framed[:, :, :-2, 1:-1]
    steepness, steepest = (across**2 + down**2).sqrt().max(dim=1, keepdim=True)
    angle = torch.atan2(down, across).gather(1, steepest) % torch.pi
    position = angle / torch.pi * DIRECTIONS
    first, share = position.floor().long() % DIRECTIONS, position - position.floor()
    votes = torch.zeros(len(planes), DIRECTIONS, *planes.shape[2:])
    votes.scatter_add_(1, first, steepness * (1 - share)).scatter_add_(1, (first + 1) % DIRECTIONS, steepness * share)
    blocks = unfold(avg_pool2d(votes, CELL) * CELL**2, 2)
    return (blocks / (blocks.pow(2).sum(dim=1, keepdim=True) + 0.01).sqrt()).clamp(max=LARGEST_EDGE).flatten(1)


def patches(planes: Tensor, seed: int) -> Floats:
    """Return how much of each of 256 learnt patches is in each quarter of an image; see ``Patches``.

    Args:
        planes: float32 [N, C, H, W].
        seed: seeds k-means and the choice of the patches that are learnt from.

    Returns:
        float32 [N, 4 * patches].
    """
    return Patches(planes, seed)(planes)


class Patches:
    """Patches that are learnt from some images, and how much of each is in any image.

    Whitened patches are clustered by k-means. The response of a place in an image to a centre is how much smaller its
    distance to that centre is than its mean distance to all centres, and 0 if it is larger.
    Coates, Lee, Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011.

    Args:
        planes: float32 [N, C, H, W], the images that are learnt from.
        seed: seeds k-means and the choice of the patches.
    """

    def __init__(self, planes: Tensor, seed: int) -> None:
        sample = _sampled_patches(planes, np.random.default_rng(seed))
        self._mean, self._whiten = sample.mean(dim=0), _whitening(sample)
        means = MiniBatchKMeans(min(PATCHES, len(sample)), random_state=seed, n_init=1, batch_size=2048)
        whitened = (sample - self._mean) @ self._whiten
        self._centres = torch.from_numpy(means.fit(whitened.numpy()).cluster_centers_).float()

    def __call__(self, planes: Tensor) -> Floats:
        """Return how much of each patch is in each quarter of an image, float32 [M, 4 * patches].

        Args:
            planes: float32 [M, C, H, W].
        """
        return torch.cat([self._answers(part) for part in torch.split(planes, BATCH)]).numpy()

    def _answers(self, planes: Tensor) -> Tensor:
        places = (_contrast(unfold(planes, PATCH, stride=STRIDE).transpose(1, 2)) - self._mean) @ self._whiten
        far = torch.cdist(places, self._centres)
        near = (far.mean(dim=2, keepdim=True) - far).clamp(min=0).transpose(1, 2)
        rows = (planes.shape[2] - PATCH) // STRIDE + 1
        field = near.reshape(len(planes), len(self._centres), rows, -1)
        return adaptive_avg_pool2d(field, 2).flatten(1)


def _sampled_patches(planes: Tensor, generator: np.random.Generator) -> Tensor:
    """Return random patches, float32 [M, C * PATCH * PATCH], of equal contrast."""
    images, _, height, width = planes.shape
    count = min(SAMPLED_PATCHES, PATCHES_AN_IMAGE * images)
    which = torch.from_numpy(generator.integers(images, size=count))
    top = generator.integers(height - PATCH + 1, size=count)
    left = generator.integers(width - PATCH + 1, size=count)
    # A view: nothing is copied.
    windows = planes.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
    return _contrast(windows[which, :, torch.from_numpy(top), torch.from_numpy(left)].flatten(1))


def _contrast(rows: Tensor) -> Tensor:
    """Return patches [..., features] with mean 0 and about variance 1."""
    return (rows - rows.mean(dim=-1, keepdim=True)) / (rows.var(dim=-1, keepdim=True) + FAINT).sqrt()


def _whitening(rows: Tensor) -> Tensor:
    """Return the symmetric map that makes rows uncorrelated, float32 [features, features]."""
    values, vectors = torch.linalg.eigh(torch.cov(rows.T))
    scale: Tensor = (values.clamp(min=0) + WHITENING).rsqrt()
    whiten: Tensor = vectors * scale @ vectors.T
    return whiten
