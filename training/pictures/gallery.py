"""The pictures of a run, in its folder ``vis/``, drawn during training or afterwards.

::

    index.html               all of them on one page
    confusion_001.png        classes and experts within each coarse label, after an epoch
    embedding_001.png        the gate's embedding by t-SNE, by expert and by class
    film_strip.png           the same over epochs
    evolution.png            scores over epochs
    certainty.png            how sure the gate is
    filters.png              the experts' filters over epochs
    activations.png          what they make of some images
    failures.csv             images with a wrong coarse label, and those that the gate is least sure of
    snapshots/epoch_001.npz  what is kept of an epoch, so that later ones can be drawn beside it

Epoch 0 is the network before its training.

Fine classes are shown only for test images, and nothing here influences what is trained or chosen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.files import write_table, write_text
from training.models.inference import BATCH, Routed, evaluating
from training.models.mixture import GatedExperts
from training.pictures.confusion import confusions, draw_confusion
from training.pictures.curves import draw_certainty, draw_evolution
from training.pictures.embedding import FEWEST, draw_embedding, draw_film_strip, flattened
from training.pictures.failures import cases, rows_of
from training.pictures.figures import DPI, evenly, save
from training.pictures.looking import look
from training.pictures.page import networks_page, run_page
from training.pictures.snapshot import QUANTILES, Snapshot, certainty
from training.pictures.weights import draw_activations, draw_filters
from training.recipe.recipe import BaseRecipe

# About how many epochs of a run are drawn where the recipe does not say which.
DRAWN = 10
# The most images in the picture of the embedding and in that of the activations, and the most epochs beside each other.
MOST_POINTS, MOST_EXAMPLES, MOST_FRAMES = 700, 2, 8
INDEX = "index.html"


class Gallery:
    """Draws the pictures of a run.

    Args:
        path: the folder of the pictures.
        recipe: the run's recipe.
        images: the split that is shown.
        epochs: number of all epochs of the run.
    """

    def __init__(self, path: Path, recipe: BaseRecipe, images: LabelledImages, epochs: int) -> None:
        self.path, self.recipe, self.epochs = path, recipe, epochs
        if images.split == "train":
            images = replace(images, fine=np.full(len(images), UNKNOWN, np.int64), classes=())
        self.images = images
        # int64 [M], the places of the images in the picture of the embedding.
        self.points = np.array(evenly(len(images), MOST_POINTS), np.int64)
        self._every = math.ceil(epochs / DRAWN) if recipe.vis is None else recipe.vis

    @property
    def wanted(self) -> bool:
        """Whether anything is drawn during training."""
        return self._every > 0

    def due(self, epoch: int) -> bool:
        """Return whether an epoch is drawn during training."""
        return self.wanted and (epoch in (1, self.epochs) or epoch % self._every == 0)

    def draw(self, epoch: int, model: GatedExperts, routed: Routed, rows: Sequence[Mapping[str, Any]]) -> None:
        """Draw an epoch, and draw the pictures over all epochs again.

        Args:
            epoch: the epoch's number.
            model: the model as it was after that epoch.
            routed: what the model answers for the images of the shown split.
            rows: the scores of all epochs so far.
        """
        self.draw_epoch(epoch, model, routed)
        self._draw_run(self._snapshots(epoch), routed, rows)

    def draw_epoch(self, epoch: int, model: GatedExperts, routed: Routed) -> None:
        """Draw an epoch alone; the arguments are those of ``draw``."""
        before = self._snapshots(epoch - 1)
        now = self._snapshot(epoch, model, routed, before[-1] if before else None)
        now.write(self._file(epoch))
        found = confusions(self.images, routed.routing.argmax(axis=1), routed.routing.shape[1])
        if found:
            self._save(draw_confusion(found, epoch), f"confusion_{epoch:03}.png")
        self._save(draw_embedding(now, *self._labels()), f"embedding_{epoch:03}.png")

    def drawn(self) -> list[int]:
        """Return the epochs that have been drawn."""
        found = (self.path / "snapshots").glob("epoch_*.npz")
        return sorted(int(path.stem.removeprefix("epoch_")) for path in found)

    def _file(self, epoch: int) -> Path:
        return self.path / "snapshots" / f"epoch_{epoch:03}.npz"

    def _snapshots(self, last: int) -> list[Snapshot]:
        """Return the snapshots up to an epoch, of the images that are shown now."""
        found = [Snapshot.read(self._file(epoch)) for epoch in self.drawn() if epoch <= last]
        return [one for one in found if len(one.flat) == len(self.points)]

    def _snapshot(self, epoch: int, model: GatedExperts, routed: Routed, before: Snapshot | None) -> Snapshot:
        rows = _embedded(model, self.images.images[self.points])
        flat = np.zeros((len(rows), 2), np.float32)
        if len(rows) >= FEWEST and np.isfinite(rows).all() and rows.std() > 0:
            flat = flattened(rows, self.recipe.seed % 2**31, None if before is None else before.flat)
        filters, activations = look(model, self.images.images[self._examples()])
        return Snapshot(
            np.array([epoch]),
            np.quantile(certainty(routed.routing), QUANTILES).astype(np.float32),
            flat,
            routed.routing[self.points].argmax(axis=1),
            filters,
            activations,
        )

    def _examples(self) -> NDArray[np.int64]:
        """Return the places of some images, equally many of each coarse label."""
        labels = range(len(self.images.coarse_labels))
        each = max(1, MOST_EXAMPLES // len(labels))
        members = (np.flatnonzero(self.images.coarse == label) for label in labels)
        some = [own[evenly(len(own), each + 1)[:each]] for own in members if len(own)]
        return np.concatenate(some)[:MOST_EXAMPLES] if some else np.arange(1)

    def _labels(self) -> tuple[NDArray[np.int64], Sequence[str], str]:
        """Return what the embedding is coloured by beside the experts: the classes where they are known."""
        if self.images.classes and (self.images.fine != UNKNOWN).any():
            return self.images.fine[self.points], self.images.classes, "class"
        return self.images.coarse[self.points], self.images.coarse_labels, "coarse label"

    def _draw_run(self, snapshots: list[Snapshot], routed: Routed, rows: Sequence[Mapping[str, Any]]) -> None:
        own = [row for row in rows if row["split"] == self.images.split]
        frames = [snapshots[place] for place in evenly(len(snapshots), MOST_FRAMES)]
        self._save(draw_evolution({"": own}), "evolution.png")
        sure = certainty(routed.routing)
        self._save(draw_certainty(snapshots, sure, self.images.coarse, self.images.coarse_labels), "certainty.png")
        self._save(draw_film_strip(frames, *self._labels()), "film_strip.png")
        self._draw_weights(frames)
        found = cases(self.images, routed)
        write_table(self.path / "failures.csv", rows_of(found))
        epochs = [snapshot.number for snapshot in snapshots]
        write_text(self.path / INDEX, run_page(self.path, self.recipe, self.images, found, epochs, own[-1]))

    def _draw_weights(self, frames: list[Snapshot]) -> None:
        """Draw filters and activations, where there are any."""
        filters = frames[-1].filters
        if not filters.size:
            return
        alike = [frame for frame in frames if frame.filters.shape == filters.shape]
        # A single network is the encoder's.
        names = [f"expert {place}" for place in range(len(filters))] if len(filters) > 1 else ["encoder"]
        self._save(draw_filters(alike, names), "filters.png")
        examples = self.images.images[self._examples()]
        alike = [frame for frame in alike if frame.activations.shape == frames[-1].activations.shape]
        self._save(draw_activations(alike, examples, names), "activations.png")

    def _save(self, figure: Figure, name: str) -> None:
        save(figure, self.path / name, DPI)


def draw_networks(
    path: Path, recipe: BaseRecipe, networks: Mapping[str, Sequence[Mapping[str, Any]]], kept: str
) -> None:
    """Draw the scores of several networks of one recipe, with a link to the pictures of each.

    Args:
        path: the folder of the pictures.
        recipe: the recipe of all networks.
        networks: name -> the scores of the network's epochs; its own pictures are in ``../NAME/vis``.
        kept: the name of the network that is kept.
    """
    drawn = {name: [row for row in rows if row["split"] == rows[-1]["split"]] for name, rows in networks.items()}
    save(draw_evolution(drawn), path / "evolution.png", DPI)
    write_text(path / INDEX, networks_page(recipe, drawn, kept))


def _embedded(model: GatedExperts, images: NDArray[Any]) -> NDArray[np.float32]:
    """Return the gate's embedding of images, float32 [N, D]; processes do not share the work."""
    with evaluating(model) as device:
        parts = torch.split(torch.from_numpy(images.copy()), BATCH)
        rows: NDArray[np.float32] = torch.cat([model.gate_embedding(part.to(device)).cpu() for part in parts]).numpy()
    return rows.reshape(len(rows), -1)
