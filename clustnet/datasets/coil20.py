"""COIL-20, twenty objects on a turntable, from an ``.npz`` that the user names.

Nene, Nayar, Murase, "Columbia Object Image Library (COIL-20)", CUCS-005-96, 1996.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clustnet.datasets.data_set import DataSet
from clustnet.datasets.labelled import LabelledImages
from clustnet.datasets.npz import read_npz, whole_numbers
from clustnet.errors import UserError

OBJECTS = 20
CLASSES = tuple(f"object{number}" for number in range(1, OBJECTS + 1))
MEAN, STD = (0.3021,), (0.3154,)
SIDE = 32
# Every fourth pose belongs to the test split.
TEST_POSE_INTERVAL = 4
ARRAYS = ("X", "object_id", "pose")


def load_coil20(split: str, path: Path | None = None) -> LabelledImages:
    """Return a split of COIL-20: images uint8 [N, 32, 32] grey, fine classes int64 [N], object 1 being class 0.

    The images are reduced to 32x32 by averaging, as image files are before a prediction. Each object was taken in 72
    poses, 5 degrees apart: every fourth (15, 35, 55 degrees and so on) is ``test`` (360 images), the others are
    ``train`` (1,080).

    Args:
        split: ``train`` or ``test``.
        path: an ``.npz`` with ``X`` uint8 [N, H, W], ``object_id`` 1 to 20 [N] and ``pose`` 0 to 71 [N]; or a folder
            that contains it as ``coil20.npz``.

    Raises:
        UserError: there is no path, the file cannot be read, or its content has another form.
    """
    if path is None:
        raise UserError("COIL-20 is not part of this repository; name its .npz file as the data path.")
    if path.is_dir():
        path /= "coil20.npz"
    arrays = read_npz(path)
    if not set(ARRAYS) <= arrays.keys():
        raise UserError(f"{path} holds {sorted(arrays)}; COIL-20 is X, object_id and pose.")
    objects, poses = (whole_numbers(path, name, arrays[name]) for name in ARRAYS[1:])
    images = _checked(path, arrays["X"], objects, poses)
    chosen = (poses % TEST_POSE_INTERVAL == TEST_POSE_INTERVAL - 1) == (split == "test")
    if not chosen.any():
        raise UserError(
            f"{path} holds no {split} images; every fourth pose is for testing, the others are for training."
        )
    box = Image.Resampling.BOX
    small = np.stack([np.asarray(Image.fromarray(image).resize((SIDE, SIDE), box)) for image in images[chosen]])
    return LabelledImages.of_classes("coil20", split, small, objects[chosen] - 1, CLASSES, MEAN, STD)


def _checked(
    path: Path, images: NDArray[np.generic], objects: NDArray[np.int64], poses: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return the images after checking that they are grey, and that each has an object and a pose."""
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape[1:]:
        raise UserError(f"{path} holds X of {images.dtype} {list(images.shape)}; COIL-20 is uint8 [N, 128, 128].")
    if not len(images) == len(objects) == len(poses):
        raise UserError(
            f"{path} holds {len(images)} images, {len(objects)} object numbers and {len(poses)} poses; "
            "expected the same number of each."
        )
    if len(objects) and not 1 <= objects.min() <= objects.max() <= OBJECTS:
        raise UserError(f"{path} holds objects {objects.min()} to {objects.max()}; COIL-20 has the objects 1 to 20.")
    return images.astype(np.uint8)


DATA_SET = DataSet(load_coil20, CLASSES)
