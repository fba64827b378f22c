"""The page that shows what a network has learnt to see: its filters, and its clusters as contact sheets."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.pages.rendering import data_url, render
from training.models.inference import Routed, route
from training.models.mixture import GatedExperts
from training.probe.activations import EMBEDDING, activations, image_spec, layers_of
from training.runs.run_folder import RunFolder
from training.visualize.ascent import ascend
from training.visualize.tiles import highest, tiled

BEST_IMAGES, BEST_COLUMNS = 9, 3
CLUSTERS, CLUSTER_IMAGES, CLUSTER_COLUMNS = 24, 20, 10


class Filter(NamedTuple):
    """A filter's number, and its two pictures as data URLs."""

    number: int
    ascent: str
    best: str


class Cluster(NamedTuple):
    """A cluster's number, coarse label and size, and its contact sheet as a data URL."""

    number: int
    label: str
    images: int
    sheet: str


def visualize(folder: RunFolder, images: LabelledImages, filters: int, seed: int = 0) -> str:
    """Return the page as HTML.

    Args:
        folder: a finished run.
        images: the images that the best images and the contact sheets are chosen from.
        filters: how many filters of each layer are shown: those whose mean output varies most from image to image.
        seed: seeds the noise that gradient ascent begins with.

    Raises:
        UserError: the run's network has no convolutions, or reads images of another shape.
    """
    spec, model, recipe = image_spec(folder), folder.load_network(), folder.recipe()
    if images.images.shape[1:] != spec.image_shape:
        raise UserError(f"The images of {images.name} are not of the shape that the run's network reads; name others.")
    layers = layers_of(model, images.images[0])
    shown = {
        name: _filters(model, layer, depth, images.images, filters, seed)
        for depth, (name, layer) in enumerate(layers.items(), 1)
        if name != EMBEDDING
    }
    return render(
        "training.visualize",
        "visualize.html",
        run=folder.path.name,
        method=recipe.method,
        data=f"{len(images):,} {images.split} images of {images.name}",
        layers=shown,
        clusters=_clusters(route(model, images.images, recipe.hard), images),
    )


def _filters(
    model: GatedExperts, layer: nn.Module, depth: int, images: NDArray[np.uint8], count: int, seed: int
) -> list[Filter]:
    """Return the pictures of a layer's filters."""
    means = activations(model, images, layer).mean(axis=2)
    numbers = highest(means.std(axis=0), count)
    _, height, width, *channels = images.shape
    found = ascend(model, layer, numbers, depth, ((channels or [1])[0], height, width), seed)
    return [
        Filter(
            number,
            data_url(tiled(image[None], 1)),
            data_url(tiled(images[highest(means[:, number], BEST_IMAGES)], BEST_COLUMNS)),
        )
        for number, image in zip(numbers, found, strict=True)
    ]


def _clusters(routed: Routed, images: LabelledImages) -> list[Cluster]:
    """Return the contact sheets of the largest clusters, each with the cluster's surest images."""
    chosen = torch.from_numpy(routed.routing).argmax(dim=1).numpy()
    sizes = np.bincount(chosen, minlength=routed.routing.shape[1])
    sheets = []
    for number in highest(sizes.astype(np.float64), CLUSTERS):
        members = np.flatnonzero(chosen == number)
        if len(members) == 0:
            continue
        surest = members[highest(routed.routing[members, number], CLUSTER_IMAGES)]
        label = images.coarse_labels[int(routed.expert_probability[members[0], number].argmax())]
        sheet = data_url(tiled(images.images[surest], CLUSTER_COLUMNS))
        sheets.append(Cluster(number, label, len(members), sheet))
    return sheets
