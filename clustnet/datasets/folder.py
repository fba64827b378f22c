"""Folders of images of any size, grey or colour, laid out as ``clustnet.datasets.folder_layout`` describes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.preparation import MAX_SIDE_PIXELS, ImageError, has_colour, prepare
from clustnet.datasets.data_set import DataSet
from clustnet.datasets.folder_layout import (
    REFERENCE,
    SPLITS,
    TEST,
    TRAIN,
    FolderNames,
    check_folders,
    existing,
    folder_names,
    has_split,
    listed,
    split_files,
    split_folder,
)
from clustnet.datasets.labelled import LabelledImages, even_sample
from clustnet.errors import UserError
from clustnet.files import shown

__all__ = [
    "REFERENCE",
    "TEST",
    "TRAIN",
    "FolderNames",
    "folder_input",
    "folder_names",
    "has_split",
    "load_folder",
    "read_file",
]

MAX_FILE_BYTES = 64 * 2**20
FAULTS = {
    "not_an_image": "is not a PNG, JPEG, WebP or BMP image; convert or remove it.",
    "truncated_image": "is cut short or damaged; fix or remove it.",
    "image_too_large": f"has more than {MAX_SIDE_PIXELS} pixels on a side; make it smaller or remove it.",
    "blank_image": "shows nothing but paper or one flat colour; fix or remove it.",
    "several_digits": "shows several digits; crop it to one or remove it.",
}
DEFAULT_SIZE = (160, 160)

T = TypeVar("T")
# Returns an array with one row for each file.
Reader = Callable[[Sequence[Path]], NDArray[Any]]


def folder_input(
    path: Path | None,
    size: tuple[int, int] = DEFAULT_SIZE,
    colour: bool | None = None,
    preparation: Literal["fit", "resize"] = "fit",
    aspect: Literal["crop", "pad"] = "crop",
) -> InputSpec:
    """Return the specification of the model input made from the images of a folder.

    Args:
        path: the folder.
        size: height and width in pixels.
        colour: whether the input has three channels. With None it has three if any training image shows colour; without
            training images, the first existing split decides.
        preparation: see ``InputSpec``.
        aspect: see ``InputSpec``.

    Raises:
        UserError: there is no path, or an image cannot be read and none before it shows colour.
    """
    if colour is None:
        path = existing(path)
        split = next(split for split in SPLITS if has_split(path, split))
        colour = any(read_files(split_files(path, split), has_colour))
    shape: tuple[int, int] | tuple[int, int, Literal[3]] = (*size, 3) if colour else size
    meaning = f"{'RGB' if colour else 'grey'}, 0 to 255"
    return InputSpec(shape=shape, meaning=meaning, preparation=preparation, aspect=aspect)


def load_folder(
    split: str,
    path: Path | None = None,
    spec: InputSpec | None = None,
    names: FolderNames | None = None,
    count: int | None = None,
    reader: Reader | None = None,
) -> LabelledImages:
    """Return the images of one split, each prepared like one that is sent to a service.

    Images of ``test`` and ``reference`` are sorted by path. Those of ``train`` are in a shuffled order that is always
    the same, so that any part of them resembles the whole.

    Args:
        split: ``train``, ``test`` or ``reference``.
        path: the folder.
        spec: the model input; ``folder_input(path)`` by default.
        names: what the sub-folders stand for; ``folder_names(path)`` by default.
        count: the number of images to read: the first ones of ``train``, otherwise see ``even_sample``; all by default.
        reader: turns the files into something else than images, such as embeddings, which takes their place.

    Returns:
        Images uint8 ``[N, *spec.shape]`` with the coarse labels and classes of their folders. Outside ``train``, a
        coarse label may be ``UNKNOWN`` if there are several.

    Raises:
        UserError: the split is missing or empty, a sub-folder is neither a coarse label nor a class, or an image or a
            folder cannot be read.
    """
    path = existing(path)
    names = folder_names(path) if names is None else names
    files = _ordered_files(path, split, names)
    if count is not None:
        files = files[:count] if split == TRAIN else [files[place] for place in even_sample(len(files), count)]
    images = _prepared(files, spec or folder_input(path)) if reader is None else reader(files)
    root = split_folder(path, split)
    folders = [file.relative_to(root).parts[:-1] for file in files]
    named = {parts: names.labels_of(parts) for parts in set(folders)}
    labels = np.array([named[parts] for parts in folders], np.int64)
    mean, std = channel_statistics(images) if reader is None else ((0.0,), (1.0,))
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


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation per channel for pixels scaled to 0..1; the latter is at least 1 / 255.

    The pixels are counted image by image, which avoids a copy of all of them.

    Args:
        images: uint8 [N, H, W] or [N, H, W, C].
    """
    planes = images[..., None] if images.ndim == 3 else images
    level = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(planes.shape[3]):
        counts = sum(np.bincount(image[:, :, channel].ravel(), minlength=256) for image in planes)
        share = counts / planes[..., channel].size
        mean = float((share * level).sum())
        means.append(mean)
        deviations.append(max(float((share * (level - mean) ** 2).sum()) ** 0.5, 1 / 255))
    return tuple(means), tuple(deviations)


def _prepared(files: Sequence[Path], spec: InputSpec) -> NDArray[np.uint8]:
    """Return the model input made from each file, uint8 [N, *spec.shape]."""
    images = np.empty((len(files), *spec.shape), np.uint8)
    for place, prepared in enumerate(read_files(files, lambda content: prepare(content, spec))):
        images[place] = prepared
    return images


def _ordered_files(path: Path, split: str, names: FolderNames) -> list[Path]:
    """Return the image files of a split in the order in which they are loaded."""
    root = split_folder(path, split)
    # If the images have no coarse labels, folders below train/ may have any name.
    if split != TRAIN or names.divided:
        check_folders(path, split, names)
    files = split_files(path, split)
    if not files:
        raise UserError(f"{shown(root)} holds no images; put some in.")
    if split != TRAIN:
        return files
    return [files[place] for place in np.random.default_rng(0).permutation(len(files))]


def read_files(files: Iterable[Path], read: Callable[[bytes], T]) -> Iterator[T]:
    """Yield what ``read`` makes of the content of each image file.

    Raises:
        UserError: files cannot be read or are not images. It is raised after the last file, so that it covers them all.
    """
    faults: dict[Path, str] = {}
    for file in files:
        try:
            found = read_file(file, read)
        except UserError as error:
            faults[file] = str(error)
        else:
            yield found
    if len(faults) == 1:
        raise UserError(*faults.values())
    if faults:
        first = listed([faults[file].removesuffix(".") for file in sorted(faults)])
        raise UserError(f"{len(faults)} files cannot be used: {first}.")


def read_file(file: Path, read: Callable[[bytes], T]) -> T:
    """Return what ``read`` makes of the content of an image file.

    Raises:
        UserError: the file cannot be read, or is not an image.
    """
    name = shown(file)
    try:
        if file.is_symlink() and not file.exists():
            raise UserError(f"The file {name} is a broken link; fix or remove it.")
        # Reading a pipe might never end.
        if file.exists() and not file.is_file():
            raise UserError(f"{name} is not a file; remove it.")
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES >> 20
            raise UserError(f"The file {name} is larger than {limit} MiB; make it smaller or remove it.")
        return read(content)
    except ImageError as error:
        raise UserError(f"The file {name} {FAULTS[error.reason]}") from None
    except OSError as error:
        raise UserError(f"The file {name} cannot be read ({error.strerror}); fix or remove it.") from None


DATA_SET = DataSet(load_folder)
