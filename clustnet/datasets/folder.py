"""Folders of images of any size, grey or colour.

A folder has one sub-folder per coarse label, or such folders in ``train/`` and ``test/``::

    LABEL/**                   what is trained on, at any depth
    train/LABEL/**             the same, beside a test split
    test/LABEL/**              what is scored
    reference/LABEL/CLASS/**   a few images of each class, which name the subtypes

Images that lie in no sub-folder have the one coarse label ``all``, and then the classes are ``reference/CLASS/``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.groups import ALL, UNKNOWN, CoarseGrouping
from clustnet.bundles.preparation import MAX_SIDE_PIXELS, ImageError, decode, prepare
from clustnet.datasets.labelled import LabelledImages
from clustnet.errors import UserError

TRAIN, TEST, REFERENCE = "train", "test", "reference"
SPLITS = (TRAIN, TEST, REFERENCE)
# What file managers and archivers leave beside images.
SYSTEM_NAMES = {"Thumbs.db", "desktop.ini", "__MACOSX"}
MAX_FILE_BYTES = 64 * 2**20
FAULTS = {
    "not_an_image": "is not a PNG, JPEG, WebP or BMP image",
    "truncated_image": "is cut short or damaged",
    "image_too_large": f"has over {MAX_SIDE_PIXELS} pixels a side",
    "blank_image": "has one flat colour",
}
DEFAULT_SIZE = (160, 160)

T = TypeVar("T")


@dataclass(frozen=True)
class FolderNames:
    """What the sub-folders of a folder of images stand for.

    Args:
        coarse_labels: the K coarse labels; ``("all",)`` where sub-folders are no coarse labels.
        classes: the names of the fine classes, ``LABEL/CLASS`` below a coarse label; empty where none is known.
    """

    coarse_labels: tuple[str, ...]
    classes: tuple[str, ...] = ()

    @property
    def divided(self) -> bool:
        """Whether sub-folders are coarse labels."""
        return self.coarse_labels != (ALL,)

    def labels_of(self, folders: tuple[str, ...]) -> tuple[int, int]:
        """Return the coarse label and the fine class of an image, ``UNKNOWN`` for what its folders do not name.

        Args:
            folders: the names of the folders between the split and the image's file, the outermost first.
        """
        coarse = self.coarse_labels.index(folders[0]) if folders and folders[0] in self.coarse_labels else UNKNOWN
        names = ["/".join(folders[:2]), *folders[:2]]
        fine = next((self.classes.index(name) for name in names if name in self.classes), UNKNOWN)
        return coarse if self.divided else 0, fine

    def knows(self, folder: str) -> bool:
        """Return whether a folder is one of a coarse label or a class."""
        return folder in self.coarse_labels or folder in self.classes

    def grouping(self) -> CoarseGrouping:
        """Return which classes belong to which coarse label; they are the one group ``all`` without coarse labels."""
        if not self.divided:
            return CoarseGrouping.whole(len(self.classes))
        groups = [
            tuple(index for index, name in enumerate(self.classes) if name.startswith(f"{label}/"))
            for label in self.coarse_labels
        ]
        return CoarseGrouping(self.coarse_labels, tuple(groups))


def has_split(path: Path | None, split: str) -> bool:
    """Return whether a folder has a split; without ``train/``, ``test/`` and ``reference/`` all images are ``train``.

    Raises:
        UserError: no path, or no such folder.
    """
    path = _existing(path)
    if not any((path / name).is_dir() for name in SPLITS):
        return split == TRAIN
    return (path / split).is_dir()


def folder_names(path: Path | None, given: bool = True) -> FolderNames:
    """Return the coarse labels and the classes of a folder.

    Args:
        path: the folder.
        given: whether the sub-folders of the training images are coarse labels; otherwise they are classes.

    Raises:
        UserError: no path; images beside the sub-folders; an empty sub-folder; or ``reference/`` is of another form.
    """
    path = _existing(path)
    root = split_folder(path, TRAIN) if given and has_split(path, TRAIN) else None
    labels = tuple(folder.name for folder in _subfolders(root)) if root else ()
    if not labels:
        return FolderNames((ALL,), _classes(path / REFERENCE))
    if not (path / REFERENCE).is_dir():
        return FolderNames(labels)
    classes = []
    for folder in _subfolders(path / REFERENCE):
        if folder.name not in labels:
            raise UserError(
                f"{path / REFERENCE} holds {folder.name!r}, which is not a coarse label ({', '.join(labels)}); "
                f"sort the reference images into {REFERENCE}/LABEL/CLASS/."
            )
        classes += [f"{folder.name}/{name}" for name in _classes(folder)]
    _check_references(path, labels, classes)
    return FolderNames(labels, tuple(classes))


def _check_references(path: Path, labels: tuple[str, ...], classes: list[str]) -> None:
    """Raise where a coarse label has no reference class."""
    for label in labels:
        if not any(name.startswith(f"{label}/") for name in classes):
            raise UserError(
                f"{path / REFERENCE} names no class of the coarse label {label!r}; add {REFERENCE}/{label}/CLASS/, "
                f"or remove {REFERENCE}/ to have the subtypes numbered."
            )


def _classes(folder: Path) -> tuple[str, ...]:
    """Return the names of the class folders, none where there is no such folder."""
    if not folder.is_dir():
        return ()
    found = tuple(inner.name for inner in _subfolders(folder))
    if not found:
        raise UserError(f"{folder} holds no class; give it a folder of images for each class, named after it.")
    return found


def _subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; none where it holds images alone.

    Raises:
        UserError: there are images beside folders, or an empty folder.
    """
    entries = list(_visible(folder))
    folders = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if not entry.is_dir()]
    if folders and loose:
        raise UserError(f"{folder} holds {loose[0].name} beside its folders; move it into one of them.")
    for inner in folders:
        if next(_files(inner), None) is None:
            raise UserError(f"{inner} is empty; put images into it, or remove it.")
    return folders


def folder_input(
    path: Path | None,
    size: tuple[int, int] = DEFAULT_SIZE,
    colour: bool | None = None,
    preparation: Literal["fit", "resize"] = "fit",
    aspect: Literal["crop", "pad"] = "crop",
) -> InputSpec:
    """Return the model input that is made from the images of a folder.

    Args:
        path: the folder.
        size: height and width in pixels.
        colour: whether the input has three channels; None for three if any training image has a colour.
        preparation: see ``InputSpec``.
        aspect: see ``InputSpec``.

    Raises:
        UserError: no path, or a training image that cannot be read.
    """
    if colour is None:
        colour = any(_has_colour(file) for file in _files(split_folder(_existing(path), TRAIN)))
    shape: tuple[int, int] | tuple[int, int, Literal[3]] = (*size, 3) if colour else size
    meaning = f"{'RGB' if colour else 'grey'}, 0 to 255"
    return InputSpec(shape=shape, meaning=meaning, preparation=preparation, aspect=aspect)


def _has_colour(file: Path) -> bool:
    """Return whether any pixel of an image file is not grey."""
    pixels = np.asarray(_reading(file, decode))
    return bool((pixels != pixels[:, :, :1]).any())


def load_folder(
    split: str, path: Path | None = None, spec: InputSpec | None = None, names: FolderNames | None = None
) -> LabelledImages:
    """Load the images of one split, each prepared as one that is sent to a service.

    Images of ``test`` and ``reference`` are in the order of their paths, those of ``train`` in a shuffled order that is
    always the same, so that any part of them resembles the whole.

    Args:
        split: ``train``, ``test`` or ``reference``.
        path: the folder.
        spec: the model input; ``folder_input(path)`` by default.
        names: what the sub-folders stand for; ``folder_names(path)`` by default.

    Returns:
        Images uint8 [N, *spec.shape] with the coarse labels and classes of their folders. Outside ``train`` a coarse
        label may be ``UNKNOWN``.

    Raises:
        UserError: the split is missing or empty, it has a sub-folder that is neither a coarse label nor a class, or an
            image or a folder cannot be read.
    """
    path = _existing(path)
    names = folder_names(path) if names is None else names
    spec = folder_input(path) if spec is None else spec
    files = _split_files(path, split, names)
    images = np.empty((len(files), *spec.shape), np.uint8)
    for image, file in zip(images, files, strict=True):
        image[:] = _reading(file, lambda content: prepare(content, spec))
    root = split_folder(path, split)
    labels = np.array([names.labels_of(file.relative_to(root).parts[:-1]) for file in files], np.int64)
    mean, std = _statistics(images)
    return LabelledImages(
        name="folder",
        split=split,
        images=images,
        coarse=labels[:, 0],
        coarse_labels=names.coarse_labels,
        fine=labels[:, 1],
        classes=names.classes,
        mean=mean,
        std=std,
        files=tuple(file.relative_to(path).as_posix() for file in files),
    )


def _split_files(path: Path, split: str, names: FolderNames) -> list[Path]:
    """Return the image files of a split in the order in which they are loaded."""
    root = split_folder(path, split)
    # Folders below train/ need no meaning where the images have no coarse labels.
    if split != TRAIN or names.divided:
        _check_folders(root, names)
    files = list(_files(root))
    if not files:
        raise UserError(f"{root} holds no images; put some in.")
    if split != TRAIN:
        return files
    return [files[place] for place in np.random.default_rng(0).permutation(len(files))]


def _check_folders(root: Path, names: FolderNames) -> None:
    """Raise where a sub-folder of a split is neither a coarse label nor a class."""
    known = [*(names.coarse_labels if names.divided else ()), *names.classes]
    for folder in _subfolders(root):
        if not names.knows(folder.name):
            what = f"among {', '.join(known)}" if known else "a class, as reference/ names none"
            raise UserError(
                f"{root} holds the folder {folder.name!r}, which is not {what}; rename or remove it, or put the images "
                f"into {root} itself."
            )


def split_folder(path: Path, split: str) -> Path:
    """Return the folder of a split.

    Raises:
        UserError: the split is missing.
    """
    if not has_split(path, split):
        raise UserError(
            f"{path} has no folder {split}/; a folder of images has one sub-folder for each coarse label, "
            f"or {TRAIN}/, {TEST}/ and {REFERENCE}/ with such sub-folders."
        )
    inner = path / split
    return inner if inner.is_dir() else path


def _existing(path: Path | None) -> Path:
    if path is None:
        raise UserError("A folder of images has no default place; name it with --data folder:PATH.")
    if not path.is_dir():
        raise UserError(f"There is no folder {path}; name one with a sub-folder of images for each coarse label.")
    return path


def _files(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the files below a folder, sorted; a link back to a folder above is not followed."""
    resolved = folder.resolve()
    if resolved in above:
        return
    for entry in _visible(folder):
        if entry.is_dir():
            yield from _files(entry, above | {resolved})
        else:
            yield entry


def _visible(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder, sorted, without hidden and system files."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read ({error.strerror}); fix or remove it.") from None
    yield from (entry for entry in entries if not entry.name.startswith(".") and entry.name not in SYSTEM_NAMES)


def _reading(file: Path, read: Callable[[bytes], T]) -> T:
    """Return what ``read`` makes of a file's content.

    Raises:
        UserError: the file cannot be read, or is not an image.
    """
    try:
        with file.open("rb") as content:
            return read(content.read(MAX_FILE_BYTES))
    except ImageError as error:
        raise UserError(f"The file {file} {FAULTS[error.reason]}; fix or remove it.") from None
    except OSError as error:
        raise UserError(f"The file {file} cannot be read ({error.strerror}); fix or remove it.") from None


def _statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, pixels scaled to 0..1; the latter is at least one grey level."""
    planes = images.reshape(len(images), -1, images.shape[3] if images.ndim == 4 else 1)
    level = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(planes.shape[2]):
        counts = sum(np.bincount(plane, minlength=256) for plane in planes[:, :, channel])
        share = counts / planes[:, :, channel].size
        mean = float((share * level).sum())
        means.append(mean)
        deviations.append(max(float((share * (level - mean) ** 2).sum()) ** 0.5, 1 / 255))
    return tuple(means), tuple(deviations)
