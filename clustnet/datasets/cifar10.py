"""CIFAR-10 from a folder or ``.npz`` that the user names.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from clustnet.datasets.data_set import DataSet
from clustnet.datasets.labelled import LabelledImages
from clustnet.datasets.npz import decode_jpegs, decode_rgb, read_npz, whole_numbers
from clustnet.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SIDE = 32
TRAIN_IMAGES = 50_000
RECORD_BYTES = 1 + 3 * SIDE * SIDE
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load_cifar10(split: str, path: Path | None = None) -> LabelledImages:
    """Return a split of CIFAR-10: images uint8 [N, 32, 32, 3], fine classes int64 [N].

    Args:
        split: ``train`` or ``test``.
        path: one of

            - the folder of the binary version (``data_batch_1.bin`` to ``test_batch.bin``),
            - a folder of image files ``train/CLASS/*`` and ``test/CLASS/*``,
            - an ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``, or with all 60,000
              images as ``jpeg`` (bytes end to end), ``offset`` and ``label``, training images first.

    Raises:
        UserError: there is no path, the path has none of these forms, or the content is damaged.
    """
    if path is None:
        raise UserError("CIFAR-10 is not part of this repository; name its folder or .npz file as the data path.")
    images, labels = _read(path, split)
    if len(images) == 0:
        raise UserError(f"{path} holds no {split} images; name one that does.")
    if images.shape[1:] != (SIDE, SIDE, 3) or images.dtype != np.uint8 or len(images) != len(labels):
        raise UserError(f"{path} holds {images.dtype} {list(images.shape)}; CIFAR-10 is uint8 [N, 32, 32, 3].")
    if not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise UserError(f"{path} holds labels outside 0 to 9; CIFAR-10 has the classes 0 to 9.")
    return LabelledImages.of_classes("cifar10", split, images, labels, CLASSES, MEAN, STD)


def _read(path: Path, split: str) -> Arrays:
    if path.suffix == ".npz" and path.is_file():
        return _read_npz(path, split)
    if (path / BATCHES[split][0]).is_file():
        return _read_binary(path, split)
    if (path / split).is_dir():
        return _read_image_folder(path / split)
    if any(path.glob("*_batch*")):
        raise UserError(f"{path} is CIFAR-10's pickled version, which is not read; get the binary version.")
    raise UserError(f"{path} is not CIFAR-10: expected an .npz file, *_batch*.bin files or train/ and test/.")


def _read_binary(folder: Path, split: str) -> Arrays:
    """Read records of one label byte and 3,072 pixel bytes, the latter channel by channel."""
    missing = [name for name in BATCHES[split] if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {missing[0]}; unpack the whole binary version of CIFAR-10.")
    content = np.concatenate([np.fromfile(folder / name, np.uint8) for name in BATCHES[split]])
    if len(content) % RECORD_BYTES:
        raise UserError(f"The CIFAR-10 files in {folder} are cut short; get them again.")
    records = content.reshape(-1, RECORD_BYTES)
    images = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype(np.int64)


def _read_npz(path: Path, split: str) -> Arrays:
    arrays = read_npz(path)
    if {f"x_{split}", f"y_{split}"} <= arrays.keys():
        return arrays[f"x_{split}"], whole_numbers(path, "labels", arrays[f"y_{split}"])
    if {"jpeg", "offset", "label"} <= arrays.keys():
        label = whole_numbers(path, "labels", arrays["label"])
        chosen = np.arange(len(label))[:TRAIN_IMAGES] if split == "train" else np.arange(TRAIN_IMAGES, len(label))
        return np.array(decode_jpegs(path, arrays, chosen, SIDE), np.uint8), label[chosen]
    raise UserError(f"{path} holds {sorted(arrays)}; expected x_{split} and y_{split}, or jpeg, offset and label.")


def _read_image_folder(folder: Path) -> Arrays:
    files = [(file, label) for label, name in enumerate(CLASSES) for file in sorted((folder / name).glob("[!.]*"))]
    if not files:
        raise UserError(
            f"{folder} holds no images; expected {folder.name}/airplane/*.png to {folder.name}/truck/*.png."
        )
    images = []
    for file, _ in files:
        try:
            images.append(decode_rgb(file))
        except (UnidentifiedImageError, OSError):
            raise UserError(f"The image {file} cannot be decoded; fix or remove it.") from None
        if images[-1].shape != (SIDE, SIDE, 3):
            raise UserError(f"The image {file} is not 32x32; CIFAR-10 images are.")
    return np.stack(images), np.array([label for _, label in files], np.int64)


DATA_SET = DataSet(load_cifar10, CLASSES)
