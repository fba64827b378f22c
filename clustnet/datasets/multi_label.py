"""Photographs with several labels each: PASCAL VOC from its folder, and a small part of COCO from an ``.npz``.

Everingham, Van Gool, Williams, Winn, Zisserman, "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88, 2010; Lin
et al., "Microsoft COCO: Common Objects in Context", arXiv:1405.0312.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clustnet.datasets.npz import decode_jpegs, decode_rgb, read_npz
from clustnet.errors import UserError

# An object is present, absent, or not counted because it is hard to see.
PRESENT, ABSENT, UNCOUNTED = 1, 0, -1
VOC, COCO = "voc2007", "coco256"
NAMES = (VOC, COCO)
VOC_SPLITS = {"train": "trainval", "test": "test"}
# The marks in VOC's files, and what they mean here.
VOC_MARKS = {"1": PRESENT, "-1": ABSENT, "0": UNCOUNTED}
COCO_ARRAYS = ("jpeg", "offset", "labels", "is_val", "class_names")


@dataclass(frozen=True)
class MultiLabelImages:
    """One split of photographs with several labels each.

    Args:
        name: the name of the data set.
        split: ``train`` or ``test``.
        images: N images uint8 [H, W, 3]; the shorter side has the requested number of pixels.
        labels: int64 [N, C], each ``PRESENT``, ``ABSENT`` or ``UNCOUNTED``.
        classes: the names of the C classes.
    """

    name: str
    split: str
    images: tuple[NDArray[np.uint8], ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def load_multi_label(name: str, split: str, path: Path | None, side: int) -> MultiLabelImages:
    """Return a split of a data set with several labels per image.

    Args:
        name: ``voc2007`` or ``coco256``.
        split: ``train`` (for VOC, trainval) or ``test``.
        path: the folder ``VOCdevkit/VOC2007``; or an ``.npz`` with ``jpeg`` (bytes end to end), ``offset``, ``labels``
            [N, C] of 0 and 1, ``is_val`` and ``class_names``.
        side: the shorter side of the images, in pixels.

    Raises:
        UserError: the path is missing, or its content has another form.
    """
    if path is None or not path.exists():
        raise UserError(f"{name} needs the path to its files, as in {name}:PATH; {path or 'none'} is not there.")
    return _load_voc(split, path, side) if name == VOC else _load_coco(split, path, side)


def _load_voc(split: str, folder: Path, side: int) -> MultiLabelImages:
    lists, part = folder / "ImageSets" / "Main", VOC_SPLITS[split]
    files = sorted(lists.glob(f"*_{part}.txt"))
    if not files:
        raise UserError(f"{folder} is not VOC: expected ImageSets/Main/CLASS_{part}.txt and JPEGImages/.")
    marks = [_voc_marks(file) for file in files]
    names = list(marks[0])
    if any(list(other) != names for other in marks):
        raise UserError(f"The files {lists}/*_{part}.txt list different images; get them again.")
    images = []
    for name in names:
        try:
            images.append(_sized(decode_rgb(folder / "JPEGImages" / f"{name}.jpg"), side))
        except (UnidentifiedImageError, OSError) as error:
            raise UserError(f"The image {name} of {folder} cannot be read ({error}); get it again.") from None
    labels = np.array([[own[name] for own in marks] for name in names], np.int64)
    return MultiLabelImages(
        VOC, split, tuple(images), labels, tuple(file.stem.removesuffix(f"_{part}") for file in files)
    )


def _voc_marks(file: Path) -> dict[str, int]:
    """Return the mark of each image in the file of a class."""
    marks = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, *mark = line.split()
        # A name from a file must not lead out of the folder.
        if len(mark) != 1 or mark[0] not in VOC_MARKS or Path(name).name != name:
            raise UserError(f"{file} has the line {line!r}; expected IMAGE and 1, 0 or -1.")
        marks[name] = VOC_MARKS[mark[0]]
    return marks


def _load_coco(split: str, path: Path, side: int) -> MultiLabelImages:
    arrays = read_npz(path)
    if not set(COCO_ARRAYS) <= arrays.keys():
        raise UserError(f"{path} holds {sorted(arrays)}; expected {', '.join(COCO_ARRAYS)}.")
    labels, classes = arrays["labels"].astype(np.int64), tuple(map(str, arrays["class_names"].tolist()))
    if labels.shape != (len(arrays["is_val"]), len(classes)) or not np.isin(labels, (ABSENT, PRESENT)).all():
        raise UserError(f"{path} holds labels {list(labels.shape)}; expected 0 or 1 for each image and class.")
    chosen = np.flatnonzero((arrays["is_val"] == 1) == (split == "test"))
    images = tuple(_sized(image, side) for image in decode_jpegs(path, arrays, chosen))
    return MultiLabelImages(COCO, split, images, labels[chosen], classes)


def _sized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return an image resized so that its shorter side has ``side`` pixels."""
    height, width = image.shape[:2]
    factor = side / min(height, width)
    size = max(side, round(width * factor)), max(side, round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
