"""Folders of images of any size and colour, which are made grey and resized.

::

    train/*.png or train/ANY/*.png    what is learnt from, without labels
    test/CLASS/*.png                  what is scored; test/*.png where there is nothing to score by
    reference/CLASS/*.png             a few images of each class, which name the clusters
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.preparation import LARGEST_SIDE, ImageError, prepare
from clustnet.datasets.labelled import UNKNOWN, LabelledImages
from clustnet.errors import UserError

TRAIN, TEST, REFERENCE = "train", "test", "reference"
LARGEST_FILE = 64 * 2**20  # bytes; more is not read
FAULTS = {
    "not_an_image": "is no PNG, JPEG, WebP or BMP image",
    "truncated_image": "is cut short or damaged",
    "image_too_large": f"has over {LARGEST_SIDE} pixels a side",
    "blank_image": "is of one flat colour",
}

Members = list[tuple[Path, int]]


def grey(height: int, width: int) -> InputSpec:
    """Return what a model reads that is trained on grey images of this size."""
    return InputSpec(shape=(height, width), meaning="grey, 0 to 255", preparation="resize")


DEFAULT = grey(160, 160)


def folder_classes(path: Path | None) -> tuple[str, ...]:
    """Return the classes of a folder: the names of the folders in ``reference/``, sorted.

    Raises:
        UserError: no path, no ``reference/``, fewer than two classes, an empty one, or images beside them.
    """
    path = _given(path)
    members = _members(path, REFERENCE)
    if "" in members:
        raise UserError(f"{path / REFERENCE} holds {members[''][0].name} beside its classes; put it into one of them.")
    if len(members) < 2:
        one = f"one class only, {next(iter(members))!r}" if members else "no class"
        raise UserError(f"{path / REFERENCE} holds {one}; give two folders of images or more, each named for a class.")
    return tuple(members)


def _given(path: Path | None) -> Path:
    if path is None:
        raise UserError("A folder of images has no default place; give it by --data folder:PATH.")
    return path


def load_folder(
    split: str, path: Path | None = None, spec: InputSpec = DEFAULT, classes: Sequence[str] | None = None
) -> LabelledImages:
    """Load the images of ``train/``, ``test/`` or ``reference/``, each prepared as one that is sent to a service.

    Those of ``test/`` and ``reference/`` are in the order of their paths, those of ``train/`` in a mixed one that is
    always the same, so that any part of them is like the whole.

    Args:
        split: ``train``, ``test`` or ``reference``.
        path: the folder of the three.
        spec: the size of the images, and how they are prepared.
        classes: the names of the classes; by default those of ``reference/``.

    Returns:
        Images uint8 [N, *spec.shape]; labels int64 [N], by the folder that an image lies in, ``UNKNOWN`` for images
        of ``test/`` that lie in none, and of ``train/`` that lie in none of a class.

    Raises:
        UserError: a folder is missing or empty, ``test/`` holds a class that is not in ``classes`` or images beside
            its classes, or an image or a folder cannot be read.
    """
    path = _given(path)
    names = folder_classes(path) if classes is None else tuple(classes)
    remedy = f"give it a folder in {REFERENCE}/ too" if classes is None else "name the data of the model"
    members = _labelled(path, split, names, remedy)
    images = np.empty((len(members), *spec.shape), np.uint8)
    for image, (file, _) in zip(images, members, strict=True):
        image[:] = _read(file, spec)
    mean, std = _statistics(images)
    return LabelledImages(
        "folder", split, images, np.array([label for _, label in members], np.int64), names, (mean,), (std,)
    )


def _labelled(path: Path, split: str, classes: tuple[str, ...], remedy: str) -> Members:
    """Return the files of a split with their labels."""
    members = _members(path, split)
    if split != TRAIN:
        _check_classes(path / split, members, classes, remedy)
    indices = {name: index for index, name in enumerate(classes)}
    labelled = [(file, indices.get(name, UNKNOWN)) for name, files in members.items() for file in files]
    if not labelled:
        raise UserError(f"{path / split} holds no images; put some in.")
    order = np.random.default_rng(0).permutation(len(labelled)) if split == TRAIN else range(len(labelled))
    return [labelled[place] for place in order]


def _check_classes(folder: Path, members: dict[str, list[Path]], classes: tuple[str, ...], remedy: str) -> None:
    if "" in members and len(members) > 1:
        raise UserError(f"{folder} holds {members[''][0].name} beside its classes; put it into one of them.")
    unknown = sorted(members.keys() - {"", *classes})
    if unknown:
        raise UserError(
            f"{folder} holds the class {unknown[0]!r}, which is not among {', '.join(classes)}; {remedy}, or remove it."
        )


def _members(path: Path, split: str) -> dict[str, list[Path]]:
    """Return the files of a split by the folder that they lie in, sorted; by ``""`` those that lie in none."""
    folder = path / split
    if not path.is_dir():
        raise UserError(f"There is no folder {path}; name one that has {TRAIN}/, {TEST}/ and {REFERENCE}/.")
    if not folder.is_dir():
        raise UserError(f"{path} has no folder {split}/; a folder of images has {TRAIN}/, {TEST}/ and {REFERENCE}/.")
    loose = [entry for entry in _visible(folder) if not entry.is_dir()]
    members = {"": loose} if loose else {}
    for inner in filter(Path.is_dir, _visible(folder)):
        members[inner.name] = list(_visible(inner))
        deeper = next(filter(Path.is_dir, members[inner.name]), None)
        if deeper:
            raise UserError(f"{deeper} is a folder too deep; put its images into {inner}.")
        if not members[inner.name]:
            raise UserError(f"{inner} is empty; put images of this class in, or remove it.")
    return members


def _visible(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read ({error.strerror}); mend or remove it.") from None


def _read(file: Path, spec: InputSpec) -> NDArray[np.uint8]:
    try:
        with file.open("rb") as content:
            return prepare(content.read(LARGEST_FILE), spec)
    except ImageError as error:
        raise UserError(f"The file {file} {FAULTS[error.reason]}; mend or remove it.") from None
    except OSError as error:
        raise UserError(f"The file {file} cannot be read ({error.strerror}); mend or remove it.") from None


def _statistics(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation of the pixels, scaled to 0..1; the latter is at least one step of grey."""
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in images)
    share, level = counts / images.size, np.arange(256) / 255
    mean = float((share * level).sum())
    return mean, max(float((share * (level - mean) ** 2).sum()) ** 0.5, 1 / 255)
