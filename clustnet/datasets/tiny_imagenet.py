"""Tiny ImageNet, 64x64 photographs of 200 classes, from a folder or ``.npz`` that the user names.

Le, Yang, "Tiny ImageNet Visual Recognition Challenge", CS 231N, Stanford, 2015. The original test images have no
classes, so the validation images are the test split.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from clustnet.datasets.data_set import DataSet
from clustnet.datasets.labelled import LabelledImages
from clustnet.datasets.npz import decode_jpegs, decode_rgb, read_npz, whole_numbers
from clustnet.errors import UserError

MEAN, STD = (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)
SIDE = 64
ANNOTATIONS = "val_annotations.txt"
ARRAYS = ("jpeg", "offset", "label", "is_val", "wnid")

Files = list[tuple[Path, int]]
Arrays = dict[str, NDArray[Any]]


def load_tiny_imagenet(split: str, path: Path | None = None) -> LabelledImages:
    """Return a split: images uint8 [N, 64, 64, 3], fine classes int64 [N]; classes are named by their WordNet IDs.

    Args:
        split: ``train`` or ``test``, which is the validation split of the original.
        path: one of

            - the original folder, ``train/nXXXXXXXX/images/*`` and ``val/images/*`` with ``val/val_annotations.txt``,
            - an ``.npz`` of some of its classes with ``jpeg`` (bytes end to end), ``offset``, ``label``, ``is_val`` and
              ``wnid``, the class of each label.

    Raises:
        UserError: there is no path, the path has neither form, or the content is damaged.
    """
    if path is not None and path.is_file():
        arrays = _arrays(path)
        classes = _named(arrays)
        images, labels = _of_split(path, arrays, split)
    else:
        classes = read_classes(path)
        assert path is not None  # noqa: S101 - the classes were read from it
        images, labels = _read_folder(path, split, classes)
    if len(images) == 0:
        raise UserError(f"{path} holds no {split} images; name one that does.")
    return LabelledImages.of_classes("tiny_imagenet", split, images, labels, classes, MEAN, STD)


def read_classes(path: Path | None) -> tuple[str, ...]:
    """Return the WordNet IDs of the classes, in the order of their labels.

    Raises:
        UserError: there is no path, or it is neither the folder nor an ``.npz`` of it.
    """
    if path is None:
        raise UserError("Tiny ImageNet is not part of this repository; name its folder or .npz file as the data path.")
    if path.is_file():
        return _named(_arrays(path))
    classes = tuple(sorted(found.name for found in (path / "train").glob("n*") if (found / "images").is_dir()))
    if not classes:
        raise UserError(f"{path} is not Tiny ImageNet: expected train/nXXXXXXXX/images/, or an .npz file.")
    return classes


def _arrays(path: Path) -> Arrays:
    arrays = read_npz(path)
    if not set(ARRAYS) <= arrays.keys():
        raise UserError(f"{path} holds {sorted(arrays)}; expected {', '.join(ARRAYS)}.")
    return arrays


def _named(arrays: Arrays) -> tuple[str, ...]:
    """Return the WordNet IDs of the classes in an archive."""
    return tuple(map(str, arrays["wnid"].tolist()))


def _of_split(path: Path, arrays: Arrays, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images and labels of one split of an archive."""
    labels, held = (whole_numbers(path, name, arrays[name]) for name in ("label", "is_val"))
    if len(labels) != len(held) or (len(labels) and not 0 <= labels.min() <= labels.max() < len(arrays["wnid"])):
        raise UserError(f"{path} holds labels that do not fit its {len(arrays['wnid'])} classes; get it again.")
    chosen = np.flatnonzero((held == 1) == (split == "test"))
    chosen = chosen[_interleaved(labels[chosen])]
    return np.array(decode_jpegs(path, arrays, chosen, SIDE), np.uint8), labels[chosen]


def _read_folder(folder: Path, split: str, classes: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    files = _training_files(folder, classes) if split == "train" else _validation_files(folder / "val", classes)
    images = np.zeros((len(files), SIDE, SIDE, 3), np.uint8)
    for place, (file, _) in enumerate(files):
        try:
            image = decode_rgb(file)
        except (UnidentifiedImageError, OSError):
            raise UserError(f"The image {file} cannot be decoded; fix or remove it.") from None
        if image.shape != (SIDE, SIDE, 3):
            raise UserError(f"The image {file} is not {SIDE}x{SIDE}; Tiny ImageNet's images are.")
        images[place] = image
    return images, np.array([label for _, label in files], np.int64)


def _training_files(folder: Path, classes: tuple[str, ...]) -> Files:
    """Return the files of the training split."""
    found = [sorted((folder / "train" / name / "images").glob("[!.]*")) for name in classes]
    files = [(file, label) for label, own in enumerate(found) for file in own]
    return [files[place] for place in _interleaved(np.array([label for _, label in files], np.int64))]


def _interleaved(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an order in which the classes take turns, so that the first few images cover all classes."""
    ranks = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = np.arange(len(members))
    order: NDArray[np.int64] = np.lexsort([labels, ranks])
    return order


def _validation_files(folder: Path, classes: tuple[str, ...]) -> Files:
    """Return the files of the validation split that belong to the classes, in the order of the annotations."""
    try:
        lines = (folder / ANNOTATIONS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / ANNOTATIONS} cannot be read ({error}); it names the class of each image.") from None
    labels, files = {name: label for label, name in enumerate(classes)}, []
    for line in lines:
        name, *rest = line.split("\t")
        # A name from a file must not lead out of the folder.
        if not rest or Path(name).name != name:
            raise UserError(f"{folder / ANNOTATIONS} has the line {line!r}; expected FILE, WordNet ID and box.")
        if rest[0] in labels:
            files.append((folder / "images" / name, labels[rest[0]]))
    return files


DATA_SET = DataSet(load_tiny_imagenet, read_classes=read_classes)
