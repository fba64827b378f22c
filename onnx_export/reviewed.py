"""The subtypes of a bundle as a person named and corrected them in the review.

A cell in use stands for the subtype that most of its training images have in the review. So merged cells share a
subtype, and a subtype that was split off after the training has no cell until the model is trained again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import ClassMap, Subtype
from clustnet.corrections import state
from clustnet.corrections.log import LOG
from clustnet.corrections.session import Session
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.scores.scores import cells
from onnx_export.class_map import Subtypes, used_cells
from training.discover.collection import Collection
from training.discover.found import found_by_discover, is_discovered
from training.discover.routed import found_by_routing, names_of
from training.models.inference import Routed
from training.runs.run_folder import RunFolder


@dataclass(frozen=True)
class Reviewed:
    """What a person said of the training images.

    Args:
        subtypes: the subtypes, by coarse label.
        of: the place of each training image's subtype in ``subtypes``, int64 [N]; -1 for one that is left out.
    """

    subtypes: Sequence[state.Subtype]
    of: NDArray[np.int64]

    def take(self, indices: NDArray[np.integer]) -> "Reviewed":
        """Return what was said of some of the images."""
        return Reviewed(self.subtypes, self.of[indices])


def load_reviewed(run: Path, train: LabelledImages, test: LabelledImages | None) -> Reviewed | None:
    """Return what the review of a run says; None where nobody named or corrected anything.

    Args:
        run: the run's folder, or that of its restarts.
        train: its training split.
        test: its test split, if there is one.

    Raises:
        UserError: the record of the review is damaged.
    """
    discovered = is_discovered(run)
    if not discovered and not (run / LOG).is_file():
        return None
    found = found_by_discover(run) if discovered else found_by_routing(RunFolder.kept(run), train, test)
    session = Session(run, found)
    review = session.review
    if not session.history.done and not any(subtype.name for subtype in review.subtypes.values()):
        return None
    names = {image.image: image.file for image in Collection.of(run).images} if discovered else {}
    return reviewed_of(review, [names.get(file, file) for file in names_of(train)])


def reviewed_of(review: state.Review, files: Sequence[str]) -> Reviewed:
    """Return what a review says of the training images, by their names in it."""
    subtypes = review.ordered()
    number = {subtype.id: place for place, subtype in enumerate(subtypes)}
    places = review.places(files)
    of = [-1 if review.left_out(file) else number[review.of[place]] for file, place in zip(files, places, strict=True)]
    return Reviewed(subtypes, np.array(of, np.int64))


def subtypes_of_review(routed: Routed, train: LabelledImages, reviewed: Reviewed) -> tuple[Subtypes, list[str]]:
    """Return the reviewed subtypes that the model can distinguish, and sentences about the others.

    Args:
        routed: the model's predictions for training images.
        train: the same images.
        reviewed: what a person said of them.

    Raises:
        UserError: a coarse label has no subtype left.
    """
    used, _ = used_cells(routed, train)
    cell = cells(routed.routing, routed.coarse_probability)
    labels = [train.coarse_labels.index(subtype.coarse) for subtype in reviewed.subtypes]
    stands_for = np.full(used.shape, -1)
    for expert, label in np.argwhere(used).tolist():
        inside = reviewed.of[(cell == expert * used.shape[1] + label) & (reviewed.of >= 0)]
        counts = np.bincount(inside, minlength=len(labels)) * (np.array(labels) == label)
        if counts.any():
            stands_for[expert, label] = counts.argmax()
    kept = [place for place in range(len(labels)) if (stands_for == place).any()]
    _check_labels(train, [reviewed.subtypes[place].coarse for place in kept])
    values = np.zeros((*used.shape, len(kept)))
    for label in range(used.shape[1]):
        own = np.array([labels[place] == label for place in kept])
        for expert in range(used.shape[0]):
            place = stands_for[expert, label]
            values[expert, label] = own / own.sum() if place < 0 else np.array(kept) == place
    return (
        Subtypes(
            train.coarse_labels,
            tuple(_named(reviewed.subtypes[place]) for place in kept),
            ClassMap(
                values=values.tolist(),
                kind="cells",
                data=f"{train.name}:{train.split}",
                reference_images=0,
                reference_indices=[],
            ),
        ),
        _notes(reviewed, kept),
    )


def _named(subtype: state.Subtype) -> Subtype:
    return Subtype(name=subtype.title, coarse_label=subtype.coarse, named=bool(subtype.name))


def _check_labels(train: LabelledImages, found: Sequence[str]) -> None:
    missing = [label for label in train.coarse_labels if label not in found]
    if missing:
        raise UserError(
            f"After the review no subtype of the coarse label {missing[0]!r} is known to the model; train it "
            "again with 'clustnet discover --resume RUN --out NEW', or undo in 'clustnet review RUN'."
        )


def _notes(reviewed: Reviewed, kept: Sequence[int]) -> list[str]:
    """Return which subtypes the model does not know yet."""
    lost = [subtype.title for place, subtype in enumerate(reviewed.subtypes) if place not in kept]
    if not lost:
        return []
    images = int((~np.isin(reviewed.of, [*kept, -1])).sum())
    counted = f"{images:,} training image{'s' if images > 1 else ''}"
    return [
        f"the model cannot yet tell apart: {', '.join(lost)} ({counted}); teach it with "
        "'clustnet discover --resume RUN --out NEW'"
    ]
