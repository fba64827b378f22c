"""What the review needs of a run that ``clustnet discover`` did not make, computed once."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clustnet.datasets import LabelledImages
from clustnet.files import replacing_folder
from review.run import SPACE
from training.data.data import load_split
from training.data.embedded import EmbeddedFiles
from training.discover.embedding import principal
from training.discover.glance import THUMBNAIL_SIDE
from training.discover.routed import assigned_by_routing, names_of
from training.discover.subtypes import SUBTYPES, write_subtypes
from training.discover.table import Images, table
from training.runs.run_folder import RunFolder


def splits(folder: RunFolder) -> list[LabelledImages]:
    """Return the training split and, where there is one, the test split, holding what the run compares images by.

    Raises:
        UserError: the data cannot be read any more.
    """
    recipe = folder.recipe()
    reader = EmbeddedFiles.reader(recipe.encoder, folder.embeddings)
    train, test = load_split(recipe.data, "train", reader), load_split(recipe.data, "test", reader)
    return [train] if test is None else [train, test]


def prepare(kept: Path, folder: RunFolder, parts: list[LabelledImages]) -> None:
    """Write the table of images and the space in which they are compared, both whole or not at all.

    Raises:
        UserError: the run has no finished epoch.
    """
    train, *others = parts
    made = assigned_by_routing(folder, train, others[0] if others else None)
    rows = np.concatenate([part.images.reshape(len(part), -1) for part in parts])
    own = np.concatenate([np.full(len(part), part is train) for part in parts])
    seed = folder.recipe().seed
    space = principal(lambda places: rows[places].astype(np.float32), own, seed)
    thumbnails = (
        np.concatenate([_thumbnails(part.images) for part in parts]) if train.images.dtype == np.uint8 else None
    )
    coarse = np.array([train.coarse_labels.index(made.labels[subtype]) for subtype in made.subtype], np.int64)
    images = Images([name for part in parts for name in names_of(part)], coarse, train.coarse_labels, own)
    found = table(images, space, thumbnails, made, seed)
    with replacing_folder(kept) as written:
        np.save(written / SPACE, space)
        write_subtypes(written / SUBTYPES, found)


def _thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images as tiny grey ones, uint8 [N, 16, 16]."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    small = [np.asarray(Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX)) for image in images]
    return np.stack(small)
