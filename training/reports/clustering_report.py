"""What clustering in pixels, in the pre-trained embedding and after each loss finds, and what these spaces look like.

As "Clustering with Deep Learning: Taxonomy and New Methods" reports it (Aljalbout, Golkov, Siddiqui, Cremers,
arXiv:1801.07648). This is the only place besides scoring where fine classes are read, those of the test split alone::

    clustering.csv        accuracy, NMI and ARI of each space and seed
    spaces.png            some test images in each space, by t-SNE, coloured by class
    reconstructions.png   some test images as they are rebuilt
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.files import write_table
from clustnet.scores.scores import clustering_scores
from training.data.data import load_split
from training.methods.deep_clustering.config import DeepClusteringRecipe
from training.models.autoencoder import Decoder
from training.models.deep_clusters import DeepClusters
from training.models.inference import BATCH, evaluating
from training.models.spec import DeepClustersSpec
from training.reports.clustering_plots import plot_reconstructions, plot_spaces
from training.runs.run_folder import Row, RunFolder, difference
from training.runs.stages import pretraining_of

PIXELS, PRETRAINED = "Image pixels", "Autoencoder"
LOSSES = {"kl": "Autoencoder + KL divergence", "kmeans": "Autoencoder + k-means loss"}
# Training images that k-means is fitted on.
MAX_FITTED_IMAGES = 10_000
# Test images in the picture of the spaces.
MAX_SHOWN_IMAGES = 2_000
# Test images in the picture of the reconstructions, equally many of each class as far as possible.
REBUILT_IMAGES = 12

Floats = NDArray[np.float32]


class Trained(NamedTuple):
    """The autoencoder and the clusters of one checkpoint."""

    model: DeepClusters
    decoder: Decoder


def report(runs: Sequence[Path], out: Path) -> list[Row]:
    """Score and draw finished runs of ``deep_clustering``; runs with the same loss have different seeds.

    Args:
        runs: folders of the runs, which share data and pre-training except for the seed. The first of each loss is
            drawn.
        out: where the table and the pictures go.

    Returns:
        A row for each space and seed: ``space``, ``seed``, ``images``, ``accuracy``, ``nmi`` and ``ari``.

    Raises:
        UserError: a folder holds no such run, or one that is not finished or does not match the first; or there are no
            test images of known classes.
    """
    folders = [RunFolder.kept(path) for path in runs]
    recipes = _checked(folders)
    train, test = _splits(recipes[0])
    rows: dict[tuple[str, int], Row] = {}
    drawn: dict[str, Trained] = {}
    for folder, recipe in zip(folders, recipes, strict=True):
        before, after = (_trained(folder, epoch) for epoch in (recipe.pretraining.epochs, folder.last_epoch()))
        for space, network in {PIXELS: None, PRETRAINED: before, LOSSES[recipe.clustering.loss]: after}.items():
            if (space, recipe.seed) not in rows:
                rows[space, recipe.seed] = _scores(space, network, recipe, len(after.model.centroids), train, test)
            if network is not None:
                drawn.setdefault(space, network)
    table = sorted(rows.values(), key=lambda row: [PIXELS, PRETRAINED, *LOSSES.values()].index(row["space"]))
    write_table(out / "clustering.csv", table)
    _draw(drawn, test, recipes[0].seed, out)
    return table


def describe(rows: Sequence[Row]) -> str:
    """Return the table over all seeds: the mean and, for several seeds, the standard deviation and the worst."""
    spaces = list(dict.fromkeys(row["space"] for row in rows))
    lines = [
        f"| clustering space, {rows[0]['images']:,} test images | accuracy | NMI | ARI | seeds |",
        "|---|---|---|---|---|",
    ]
    for space in spaces:
        own = [row for row in rows if row["space"] == space]
        cells = [over_seeds([row[key] for row in own]) for key in ("accuracy", "nmi", "ari")]
        lines.append(f"| {space} | {' | '.join(cells)} | {len(own)} |")
    return "\n".join(lines)


def over_seeds(values: Sequence[float]) -> str:
    """Return the mean and, for several values, the sample standard deviation (by n - 1) and the worst."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} ({min(values):.3f})"


def _checked(folders: Sequence[RunFolder]) -> list[DeepClusteringRecipe]:
    """Return the recipes of runs, or raise if the runs cannot be in one table."""
    seen: dict[tuple[str, int], Path] = {}
    recipes: list[DeepClusteringRecipe] = []
    for folder in folders:
        recipe = _checked_run(folder)
        key = recipe.clustering.loss, recipe.seed
        if key in seen:
            raise UserError(f"{seen[key]} and {folder.path} have the same loss and the same seed; name one of them.")
        seen[key] = folder.path
        recipes.append(recipe)
        first, own = (pretraining_of(each.model_copy(update={"seed": 0})) for each in (recipes[0], recipe))
        if first.digest() != own.digest():
            why = difference(first, own)
            raise UserError(f"{folders[0].path} and {folder.path} do not fit into one table: {why}.")
    return recipes


def is_staged(run: Path) -> bool:
    """Return whether a run is of ``deep_clustering`` with a pre-training, so that it has spaces to compare.

    Raises:
        UserError: the folder holds no run.
    """
    recipe = RunFolder.kept(run).recipe()
    return isinstance(recipe, DeepClusteringRecipe) and recipe.pretraining.epochs > 0


def _checked_run(folder: RunFolder) -> DeepClusteringRecipe:
    """Return the recipe of a run, or raise if it is of another method or not finished."""
    recipe = folder.recipe()
    if not isinstance(recipe, DeepClusteringRecipe) or recipe.pretraining.epochs == 0:
        raise UserError(f"{folder.path} has no pre-trained autoencoder; name runs of the method deep_clustering.")
    if folder.last_epoch() <= recipe.pretraining.epochs:
        raise UserError(f"{folder.path} has only been pre-trained; go on with 'clustnet train ... --stage cluster'.")
    if not _finished(folder, recipe):
        raise UserError(f"{folder.path} is not finished; go on with 'clustnet train ... --resume'.")
    return recipe


def _splits(recipe: DeepClusteringRecipe) -> tuple[LabelledImages, LabelledImages]:
    """Return the training and the test split, or raise if there is nothing to score by."""
    train, test = load_split(recipe.data, "train"), load_split(recipe.data, "test")
    if test is None or not test.labelled:
        raise UserError("There are no test images of known classes to score by; put some into test/CLASS/.")
    return train, test


def _finished(folder: RunFolder, recipe: DeepClusteringRecipe) -> bool:
    """Return whether a run was trained to its last epoch, or until its clusters settled."""
    last = folder.last_epoch()
    whole = recipe.pretraining.epochs + recipe.optimisation.epochs
    return last == whole or bool(folder.load_checkpoint(last)["settled"])


def _trained(folder: RunFolder, epoch: int) -> Trained:
    """Return the networks of an epoch."""
    spec, model = folder.spec(epoch), folder.load_network(epoch)
    assert isinstance(spec, DeepClustersSpec) and isinstance(model, DeepClusters)  # noqa: S101, PT018 - by the recipe
    decoder = Decoder(spec.architecture)
    decoder.load_state_dict(folder.load_checkpoint(epoch)["decoder"])
    return Trained(model, decoder)


def _scores(
    space: str,
    network: Trained | None,
    recipe: DeepClusteringRecipe,
    clusters: int,
    train: LabelledImages,
    test: LabelledImages,
) -> Row:
    """Return the row of one space and seed.

    After training with a loss, the clusters are the run's own; in the other spaces, k-means is fitted on training
    images and predicts those of the test images.
    """
    if network is not None and space != PRETRAINED:
        distances = torch.cdist(torch.from_numpy(embed(network, test.images)), network.model.centroids.detach())
        found = distances.argmin(dim=1).numpy()
    else:
        chosen = np.linspace(0, len(train) - 1, min(MAX_FITTED_IMAGES, len(train))).astype(int)
        means = KMeans(clusters, n_init=recipe.clustering.starts, random_state=recipe.seed)
        found = means.fit(embed(network, train.images[chosen])).predict(embed(network, test.images))
    return {"space": space, "seed": recipe.seed, "images": len(test)} | clustering_scores(found, test.fine)


def of_every_class(fine: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the places of ``count`` images, or of all: the first of each class, then the second of each, and so on.

    Images of one class stand together. If there are more classes than ``count``, they are picked at even distances.

    Args:
        fine: int64 [N], the class of each image.
        count: number of images.
    """
    turn = np.zeros(len(fine), np.int64)
    for label in np.unique(fine):
        own = np.flatnonzero(fine == label)
        turn[own] = np.arange(len(own))
    first = np.flatnonzero(turn == 0)
    if len(first) > count:
        chosen = first[np.argsort(fine[first])][np.linspace(0, len(first) - 1, count).astype(int)]
    else:
        chosen = np.lexsort((fine, turn))[:count]
    places: NDArray[np.int64] = chosen[np.lexsort((turn[chosen], fine[chosen]))]
    return places


def embed(network: Trained | None, images: NDArray[np.uint8]) -> Floats:
    """Return embeddings float32 [N, D] of images uint8 [N, ...]; without a network, their pixels from 0 to 1."""
    if network is None:
        return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    with evaluating(network.model):
        parts = torch.split(torch.from_numpy(images.copy()), BATCH)
        embeddings: Floats = torch.cat([network.model.embed(part) for part in parts]).numpy()
    return embeddings


def rebuild(network: Trained, images: NDArray[np.uint8]) -> Floats:
    """Return rebuilt images, float32 of the shape of ``images``, about 0 to 1."""
    with evaluating(network.model), evaluating(network.decoder):
        pixels = network.model.normalise(torch.from_numpy(images.copy()))
        rebuilt = network.decoder(*network.model.encoder.with_places(pixels)).view_as(pixels)
    found: Floats = rebuilt.permute(0, 2, 3, 1).numpy().reshape(images.shape)
    return found


def _draw(networks: dict[str, Trained], test: LabelledImages, seed: int, out: Path) -> None:
    """Draw the spaces and the reconstructions."""
    chosen = np.linspace(0, len(test) - 1, min(MAX_SHOWN_IMAGES, len(test))).astype(int)
    images, fine = test.images[chosen], test.fine[chosen]
    order = [space for space in (PRETRAINED, *LOSSES.values()) if space in networks]
    spaces = {PIXELS: embed(None, images)} | {space: embed(networks[space], images) for space in order}
    plot_spaces(spaces, fine, test.classes, seed, out / "spaces.png")
    some = test.images[of_every_class(test.fine, REBUILT_IMAGES)]
    rows = {"Image": some / np.float32(255)} | {space: rebuild(networks[space], some) for space in order}
    plot_reconstructions(rows, out / "reconstructions.png")
