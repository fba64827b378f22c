"""The class map of a bundle: fitted on reference images, or the identity over the cells in use."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import ClassMap, Subtype
from clustnet.bundles.class_map import cell_overlap, draw_reference, fit_class_map, identity_class_map
from clustnet.bundles.routing import cell_probability
from clustnet.datasets import LabelledImages
from clustnet.datasets.folder import REFERENCE
from clustnet.errors import UserError
from clustnet.scores.scores import cells
from onnx_export.confidence import MIN_CELL_SHARE
from training.models.inference import Routed, route
from training.models.mixture import GatedExperts
from training.recipe.recipe import Reference


@dataclass(frozen=True)
class Subtypes:
    """The subtypes of a bundle and the class map that leads to them.

    Args:
        coarse_labels: the K coarse labels.
        subtypes: the C subtypes.
        class_map: from cells to subtypes.
    """

    coarse_labels: tuple[str, ...]
    subtypes: tuple[Subtype, ...]
    class_map: ClassMap

    def membership(self) -> NDArray[np.bool_]:
        """Return whether each subtype belongs to each coarse label, bool [K, C]."""
        own = np.array([subtype.coarse_label for subtype in self.subtypes])
        membership: NDArray[np.bool_] = own == np.array(self.coarse_labels)[:, None]
        return membership


def subtypes_of_references(
    model: GatedExperts, hard: bool, reference: Reference, train: Routed, named: LabelledImages
) -> Subtypes:
    """Return the fine classes as subtypes, with the class map fitted on reference images.

    These are all images of ``reference/``, or some drawn from a training split. No other fine label is used.

    Args:
        model: the trained model.
        hard: whether one expert alone decides.
        reference: how many images of a training split are drawn.
        train: the model's predictions for training images, from which the overlap of the cells is computed.
        named: images of known fine class and coarse label.

    Raises:
        UserError: a class has fewer training images than the recipe requests.
    """
    indices = np.arange(len(named)) if named.split == REFERENCE else _drawn(named, reference)
    drawn = named.take(indices)
    routed = route(model, drawn.images, hard)
    membership = np.zeros((len(named.coarse_labels), len(named.classes)), bool)
    membership[drawn.coarse, drawn.fine] = True
    overlap = cell_overlap(train.weights, train.expert_probability)
    values = fit_class_map(routed.weights, routed.expert_probability, drawn.fine, len(named.classes), overlap)
    labels = [named.coarse_labels[label] for label in membership.argmax(axis=0)]
    return Subtypes(
        named.coarse_labels,
        tuple(
            Subtype(name=name, coarse_label=label, named=True)
            for name, label in zip(named.classes, labels, strict=True)
        ),
        ClassMap(
            values=values.tolist(),
            kind="references",
            data=f"{named.name}:{named.split}",
            reference_images=len(indices),
            reference_indices=indices.tolist(),
        ),
    )


def _drawn(train: LabelledImages, reference: Reference) -> NDArray[np.int64]:
    """Return the indices of as many images of each class as the recipe requests."""
    counts = np.bincount(train.fine, minlength=len(train.classes))
    if counts.min() < reference.per_class:
        raise UserError(
            f"The class {train.classes[counts.argmin()]!r} has {counts.min()} training images, but "
            f"reference.per_class requests {reference.per_class}; lower it or train on more images."
        )
    return draw_reference(train.fine, reference.per_class, reference.seed)


def subtypes_of_cells(routed: Routed, train: LabelledImages) -> Subtypes:
    """Return each cell in use as a subtype ``LABEL/1``, ``LABEL/2``, ..., the largest of each coarse label first.

    A cell is in use if at least ``MIN_CELL_SHARE`` of the images of its coarse label go to it. A coarse label without
    such a cell has one subtype, its most probable cell.

    Args:
        routed: the model's predictions for training images.
        train: the same images.
    """
    used, counts = used_cells(routed, train)
    values, found = identity_class_map(used)
    largest_first = sorted(range(len(found)), key=lambda subtype: (found[subtype][1], -counts[found[subtype]]))
    names = [train.coarse_labels[coarse] for _, coarse in found]
    return Subtypes(
        train.coarse_labels,
        tuple(
            Subtype(name=f"{label}/{names[: place + 1].count(label)}", coarse_label=label, named=False)
            for place, label in enumerate(names)
        ),
        ClassMap(
            values=values[:, :, largest_first].tolist(),
            kind="cells",
            data=f"{train.name}:{train.split}",
            reference_images=0,
            reference_indices=[],
        ),
    )


def used_cells(routed: Routed, train: LabelledImages) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which cells are in use, bool [E, K], and how many images are in each cell, int64 [E, K].

    The arguments are those of ``subtypes_of_cells``.
    """
    counts = _cell_counts(routed, train)
    images = np.bincount(train.coarse, minlength=len(train.coarse_labels))
    used: NDArray[np.bool_] = counts >= np.maximum(1, MIN_CELL_SHARE * images)
    without = np.flatnonzero(~used.any(axis=0))
    most_probable = cell_probability(routed.weights, routed.expert_probability).sum(axis=0).argmax(axis=0)
    used[most_probable[without], without] = True
    return used, counts


def _cell_counts(routed: Routed, train: LabelledImages) -> NDArray[np.int64]:
    """Return how many images are in each cell of their own coarse label, int64 [E, K]."""
    shape = routed.expert_probability.shape[1:]
    cell = cells(routed.routing, routed.coarse_probability)
    own = cell[cell % shape[1] == train.coarse]
    return np.bincount(own, minlength=shape[0] * shape[1]).reshape(shape)
