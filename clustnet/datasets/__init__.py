"""Labelled data sets, each read from files that the user has; nothing is downloaded."""

from pathlib import Path

from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets import cifar10, coil20, folder, mnist, notmnist, tiny_imagenet
from clustnet.datasets.folder import folder_names, has_split, load_folder
from clustnet.datasets.labelled import UNKNOWN, LabelledImages
from clustnet.errors import UserError

DATA_SETS = {
    "mnist": mnist.DATA_SET,
    "cifar10": cifar10.DATA_SET,
    "notmnist": notmnist.DATA_SET,
    "coil20": coil20.DATA_SET,
    "tiny_imagenet": tiny_imagenet.DATA_SET,
    "folder": folder.DATA_SET,
}
CLASSES = {name: found.classes for name, found in DATA_SETS.items() if found.classes}
# The coarse labels of the data sets that define them.
GROUPINGS = {
    name: CoarseGrouping.from_mapping(found.coarse, found.classes) for name, found in DATA_SETS.items() if found.coarse
}
SPLITS = ("train", "test")

__all__ = [
    "CLASSES",
    "DATA_SETS",
    "GROUPINGS",
    "UNKNOWN",
    "LabelledImages",
    "classes_of",
    "load",
    "load_folder",
    "load_named",
    "parse",
]


def classes_of(name: str, path: Path | None = None) -> tuple[str, ...]:
    """Return the names of a data set's fine classes, which may depend on its path.

    For ``folder``, see ``folder_names`` with ``given=False``.

    Raises:
        UserError: the folder cannot be read, or ``reference/`` has another form.
    """
    if name == "folder":
        return folder_names(path, given=False).classes
    read = DATA_SETS[name].read_classes
    return read(path) if read else CLASSES[name]


def load_named(name: str, split: str, path: Path | None = None) -> LabelledImages:
    """Return one split of a data set.

    Args:
        name: a key of ``DATA_SETS``.
        split: ``train`` or ``test``.
        path: folder or file of the data set; by default the embedded copy, if there is one.

    Raises:
        UserError: the name or split is unknown, or files are missing or damaged.
    """
    if name not in DATA_SETS:
        raise UserError(f"There is no data set {name!r}; choose one of {', '.join(DATA_SETS)}.")
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r}; choose train or test.")
    return DATA_SETS[name].load(split, path)


def load(spec: str) -> LabelledImages:
    """Return the split given as ``NAME:SPLIT``, ``NAME:PATH:SPLIT`` or ``folder:PATH``, for example ``mnist:test``.

    Raises:
        UserError: as for ``load_named`` and ``parse``.
    """
    return load_named(*parse(spec))


def parse(spec: str) -> tuple[str, str, Path | None]:
    """Return the name, split and path in ``NAME:SPLIT``, ``NAME:PATH:SPLIT`` or ``folder:PATH``.

    ``folder:PATH`` is the test split, or the training split of a folder without one.

    Raises:
        UserError: the specification has another form.
    """
    name, _, rest = spec.partition(":")
    if name == "folder" and rest.rpartition(":")[2] not in SPLITS:
        folder = Path(rest) if rest else None
        rest += ":train" if has_split(folder, "train") and not has_split(folder, "test") else ":test"
    path, _, split = rest.rpartition(":")
    if not name or not split:
        raise UserError(f"The data {spec!r} must have the form NAME:SPLIT or NAME:PATH:SPLIT, as in mnist:test.")
    return name, split, Path(path) if path else None
