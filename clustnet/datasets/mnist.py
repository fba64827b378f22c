"""MNIST from the four gzipped IDX files, checked against their published SHA-256.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from clustnet.datasets.data_set import DataSet
from clustnet.datasets.idx import parse_idx
from clustnet.datasets.labelled import LabelledImages
from clustnet.errors import UserError
from clustnet.files import replacing, sha256_of

EMBEDDED = Path(__file__).resolve().parents[2] / "data" / "mnist"

# SHA-256 of the uncompressed files, so that a copy compressed by another gzip is accepted, too.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
CLASSES = tuple(str(digit) for digit in range(10))
MEAN, STD = (0.1307,), (0.3081,)
# The coarse labels of the demonstration: is the digit below 5?
COARSE = {"0-4": (0, 1, 2, 3, 4), "5-9": (5, 6, 7, 8, 9)}
PREFIX = {"train": "train", "test": "t10k"}
ADVICE = "restore it from the repository's data/mnist"
# The largest of the four files has 47 MB; a larger one is not MNIST.
MAX_FILE_BYTES = 64 * 2**20


def load_mnist(split: str, path: Path | None = None) -> LabelledImages:
    """Return a split of MNIST: images uint8 [N, 28, 28] (0 paper, 255 ink), fine classes int64 [N].

    Args:
        split: ``train`` (60,000) or ``test`` (10,000).
        path: the folder of the four ``.gz`` files; the embedded copy by default.

    Raises:
        UserError: a file is missing, cut short or altered.
    """
    raw = unpacked(path) / "MNIST" / "raw"
    paths = [raw / f"{PREFIX[split]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    images, labels = (parse_idx(path.read_bytes(), str(path)) for path in paths)
    return LabelledImages.of_classes("mnist", split, images, labels.astype(np.int64), CLASSES, MEAN, STD)


def unpacked(path: Path | None = None) -> Path:
    """Return the cache folder of the unpacked files, laid out as torchvision expects; they are unpacked only once.

    The cache is below ``$CLUSTNET_CACHE`` or ``~/.cache/clustnet``. Its name is a hash of the packed files, so that
    cached files never hide that a packed file was altered.

    Raises:
        UserError: a file is missing, cut short or altered.
    """
    packed = {name: (path or EMBEDDED) / f"{name}.gz" for name in SHA256}
    root = Path(os.environ.get("CLUSTNET_CACHE") or Path.home() / ".cache" / "clustnet")
    cache = root / f"mnist-{_fingerprint(packed.values())}"
    for name, expected in SHA256.items():
        target = cache / "MNIST" / "raw" / name
        if target.is_file() and sha256_of(target) == expected:
            continue
        try:
            _unpack(packed[name], target, expected)
        except OSError as error:
            raise UserError(
                f"MNIST cannot be unpacked into {cache} ({error.strerror}); "
                "set CLUSTNET_CACHE to a folder that can be written."
            ) from None
    return cache


def _fingerprint(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            raise UserError(f"The MNIST file {file} is missing; {ADVICE}.")
        digest.update(sha256_of(file).encode())
    return digest.hexdigest()[:16]


def _unpack(packed: Path, target: Path, expected: str) -> None:
    try:
        with gzip.open(packed) as file:
            content = file.read(MAX_FILE_BYTES)
    except EOFError:
        raise UserError(f"The MNIST file {packed} is cut short; {ADVICE}.") from None
    except (gzip.BadGzipFile, zlib.error):
        raise UserError(f"The MNIST file {packed} is damaged and cannot be unpacked; {ADVICE}.") from None
    with replacing(target) as temporary:
        temporary.write_bytes(content)
        if sha256_of(temporary) != expected:
            raise UserError(f"The MNIST file {packed} is altered: its SHA-256 is not the published one; {ADVICE}.")


DATA_SET = DataSet(load_mnist, CLASSES, COARSE)
