"""What a run of any method found, in the form from which a review starts: the subtypes are the cells in use."""

import numpy as np

from clustnet.corrections.state import Found, Subtype
from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.datasets.folder_layout import TEST, TRAIN
from clustnet.errors import UserError
from clustnet.files import shown
from training.discover.found import found_of
from training.discover.subtypes import Assignment, Routing, assigned, read_routing
from training.runs.run_folder import RunFolder


def assigned_by_routing(folder: RunFolder, train: LabelledImages, test: LabelledImages | None) -> Assignment:
    """Return the subtype, a cell in use, of each image of a run of any method; the images of ``train`` come first.

    Raises:
        UserError: the run has no finished epoch, or its tables of images do not fit its data.
    """
    tables = [_routing(folder, split) for split in (train, test) if split is not None]
    coarse = np.concatenate([split.coarse for split in (train, test) if split is not None])
    predicted = np.concatenate([table.coarse for table in tables])
    files = [file for table in tables for file in table.files]
    if len(files) != len(coarse):
        raise UserError(f"{folder.path} has {len(files):,} images in its tables, but its data have {len(coarse):,}.")
    return assigned(
        files,
        np.where(coarse == UNKNOWN, predicted, coarse),
        train.coarse_labels,
        tables[0],
        tables[1] if test else None,
    )


def found_by_routing(folder: RunFolder, train: LabelledImages, test: LabelledImages | None) -> Found:
    """Return what a run of any method found.

    Raises:
        UserError: as for ``assigned_by_routing``.
    """
    made = assigned_by_routing(folder, train, test)
    subtypes = [Subtype(name, label) for name, label in zip(made.names, made.labels, strict=True)]
    files = [file for split in (train, test) if split is not None for file in names_of(split)]
    return found_of(files, [subtypes[number] for number in made.subtype])


def names_of(split: LabelledImages) -> list[str]:
    """Return the names of a split's images: their files, or ``SPLIT/NUMBER`` where there are none."""
    if split.files is not None:
        return [shown(file) for file in split.files]
    return [f"{split.split}/{number}" for number in range(len(split))]


def _routing(folder: RunFolder, split: LabelledImages) -> Routing:
    """Return the table of a split's images after the last epoch, with the names from ``names_of``."""
    name = TRAIN if split.split == TRAIN else TEST
    path = folder.path / "images" / f"epoch_{folder.last_epoch():03}_{name}.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing, so there is nothing to review; train the run to its end.")
    return read_routing(path)._replace(files=names_of(split))
