"""How much of the fine classes plain clusterings find within each coarse label: the least that the method must reach.

The coarse label is given, also on the test split, and a clustering has as many clusters as the label has classes. It is
fitted on a sample of the label's training images and scored on the test split, by the one-to-one matching of all cells
(cluster x coarse label) to the fine classes. k-means (10 starts) clusters three representations: the pixels, 50
principal components of the images of the label, and the embedding of an autoencoder, the gate's encoder trained to
reconstruct the whole sample. A Gaussian mixture (5 starts) clusters the principal components after UMAP.

    python -m benchmarks.clustering mnist notmnist:FOLDER coil20:FILE cifar10:FILE
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import Adam
from umap import UMAP

from benchmarks.inference import processor
from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets import LabelledImages, load_named
from clustnet.errors import UserError
from clustnet.scores.scores import clustering_accuracy
from training.models.encoder import Decoder, Encoder, Normalise
from training.reports.clustering_report import over_seeds

GROUPS = {
    "mnist": {"0-4": list(range(5)), "5-9": list(range(5, 10))},
    "notmnist": {"A-E": list(range(5)), "F-J": list(range(5, 10))},
    "coil20": {"objects 1-10": list(range(10)), "objects 11-20": list(range(10, 20))},
    "cifar10": {"vehicles": [0, 1, 8, 9], "animals": [2, 3, 4, 5, 6, 7]},
}
COMPONENTS = 50
CHANNELS, EMBEDDING = (16, 32), 64
STEPS, BATCH, LEARNING_RATE = 600, 128, 2e-3

# The settings of UMAP.
NEIGHBOURS, UMAP_COMPONENTS = 20, 5

Floats = NDArray[np.float32]
# From rows [N, D] and other rows [M, D], a number of clusters and a seed to the clusters of the others, int64 [M].
Clustering = Callable[[Floats, Floats, int, int], NDArray[np.int64]]


def main() -> None:
    """Print a row for each data set and representation."""
    parser = argparse.ArgumentParser("benchmarks.clustering", description=__doc__)
    parser.add_argument(
        "data", nargs="+", metavar="NAME[:PATH]", help="mnist, notmnist:FOLDER, coil20:FILE, cifar10:FILE"
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default: 5)")
    parser.add_argument(
        "--images", type=int, default=8000, help="training images of each coarse label (default: 8,000)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, seeds 0 to {options.seeds - 1}, test split")
    print(f"fitted on {options.images:,} training images of each coarse label, or all it has\n")
    print(
        "| data | representation, clustering | accuracy over cells | accuracy of each coarse label |\n|---|---|---|---|"
    )
    for spec in options.data:
        name, _, path = spec.partition(":")
        try:
            train, test = (load_named(name, split, Path(path) if path else None) for split in ("train", "test"))
        except UserError as error:
            parser.error(str(error))
        _compare(train, test, options.seeds, options.images)


def _k_means(fitted: Floats, scored: Floats, clusters: int, seed: int) -> NDArray[np.int64]:
    """Return the clusters of rows, int64 [M], by k-means on others."""
    return np.asarray(KMeans(clusters, n_init=10, random_state=seed).fit(fitted).predict(scored), np.int64)


def _umap_mixture(fitted: Floats, scored: Floats, clusters: int, seed: int) -> NDArray[np.int64]:
    """Return the clusters of rows, int64 [M], by UMAP and a Gaussian mixture on others."""
    with warnings.catch_warnings():
        # With a seed UMAP uses one thread, which is what is wanted.
        warnings.filterwarnings("ignore", "n_jobs value")
        umap = UMAP(NEIGHBOURS, n_components=UMAP_COMPONENTS, min_dist=0.0, random_state=seed).fit(fitted)
    mixture = GaussianMixture(clusters, n_init=5, random_state=seed).fit(umap.embedding_.astype(np.float64))
    return np.asarray(mixture.predict(umap.transform(scored).astype(np.float64)), np.int64)


# The clusterings of each representation. UMAP reads principal components, as it does in the method's own partition.
K_MEANS: dict[str, Clustering] = {"k-means": _k_means}
CLUSTERINGS = {"pixels": K_MEANS, "PCA-50": K_MEANS | {"UMAP + mixture": _umap_mixture}, "autoencoder": K_MEANS}


def _compare(train: LabelledImages, test: LabelledImages, seeds: int, images: int) -> None:
    """Print the rows of one data set: mean +- standard deviation (worst) over the seeds."""
    grouping = CoarseGrouping.from_mapping(GROUPS[train.name], train.classes)
    scores: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        sample = _sample(train, grouping, images, seed)
        for name, fitted, scored in _representations(sample, test, grouping, seed):
            for title, clustering in CLUSTERINGS[name].items():
                row = _accuracies(clustering, fitted, scored, test, grouping, seed)
                scores.setdefault(f"{name}, {title}", []).append(row)
    for name, rows in scores.items():
        columns = np.array(rows).T
        over_cells, *of_labels = [over_seeds(values) for values in columns]
        print(f"| {train.name} | {name} | {over_cells} | {'; '.join(of_labels)} |", flush=True)


def _sample(train: LabelledImages, grouping: CoarseGrouping, images: int, seed: int) -> LabelledImages:
    """Return some training images of each coarse label, drawn without their fine classes."""
    generator, coarse = np.random.default_rng(seed), grouping.coarse(train.fine)
    members = [np.flatnonzero(coarse == label) for label in range(len(grouping.labels))]
    chosen = np.concatenate([generator.choice(m, min(images, len(m)), replace=False) for m in members])
    return train.take(chosen)


def _representations(
    train: LabelledImages, test: LabelledImages, grouping: CoarseGrouping, seed: int
) -> Iterator[tuple[str, list[Floats], list[Floats]]]:
    """Yield each representation's name and its rows of each coarse label, of training and of test images."""
    labels = range(len(grouping.labels))
    splits = [(split.images, grouping.coarse(split.fine)) for split in (train, test)]
    pixels = [[_flat(images[coarse == label]) for label in labels] for images, coarse in splits]
    yield "pixels", pixels[0], pixels[1]
    reductions = [PCA(min(COMPONENTS, len(rows)), random_state=seed).fit(rows) for rows in pixels[0]]
    reduced = [[pca.transform(rows) for pca, rows in zip(reductions, split, strict=True)] for split in pixels]
    yield "PCA-50", reduced[0], reduced[1]
    embed = _autoencoder(train, seed)
    embedded = [[embed(images[coarse == label]) for label in labels] for images, coarse in splits]
    yield "autoencoder", embedded[0], embedded[1]


def _accuracies(
    clustering: Clustering,
    fitted: list[Floats],
    scored: list[Floats],
    test: LabelledImages,
    grouping: CoarseGrouping,
    seed: int,
) -> list[float]:
    """Return the accuracy over cells, then that of each coarse label."""
    coarse = grouping.coarse(test.fine)
    cells, accuracies = np.empty(len(test), np.int64), []
    for label, classes in enumerate(grouping.groups):
        found = clustering(fitted[label], scored[label], len(classes), seed)
        cells[coarse == label] = len(grouping.labels) * found + label
        accuracies.append(clustering_accuracy(found, test.fine[coarse == label]))
    return [clustering_accuracy(cells, test.fine), *accuracies]


def _autoencoder(train: LabelledImages, seed: int) -> Callable[[NDArray[np.uint8]], Floats]:
    """Return a function that embeds images, by an autoencoder that is trained to reconstruct ``train``."""
    torch.manual_seed(seed)
    normalise, images = Normalise(train.mean, train.std), torch.from_numpy(train.images)
    shape = tuple(normalise(images[:1]).shape[1:])
    encoder, decoder = Encoder(shape, CHANNELS, EMBEDDING), Decoder(shape, CHANNELS, EMBEDDING)
    optimizer = Adam([*encoder.parameters(), *decoder.parameters()], LEARNING_RATE)
    for _ in range(STEPS):
        pixels = normalise(images[torch.randint(len(images), (BATCH,))])
        loss = mse_loss(decoder(encoder(pixels)), pixels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    @torch.no_grad()
    def embed(images: NDArray[np.uint8]) -> Floats:
        parts: list[Tensor] = [encoder(normalise(part)) for part in torch.split(torch.from_numpy(images), 256)]
        return torch.cat(parts).numpy()

    return embed


def _flat(images: NDArray[np.uint8]) -> Floats:
    """Return images as rows, float32 [N, pixels], 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


if __name__ == "__main__":
    main()
