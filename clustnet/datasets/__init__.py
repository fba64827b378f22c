"""Labelled image sets, each read from files that the user has; nothing is downloaded."""

from pathlib import Path

from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets import cifar10, coil20, mnist, notmnist
from clustnet.datasets.folder import folder_names, has_split, load_folder
from clustnet.datasets.labelled import UNKNOWN, LabelledImages
from clustnet.errors import UserError

LOADERS = {
    "mnist": mnist.load_mnist,
    "cifar10": cifar10.load_cifar10,
    "notmnist": notmnist.load_notmnist,
    "coil20": coil20.load_coil20,
    "folder": load_folder,
}
CLASSES = {"mnist": mnist.CLASSES, "cifar10": cifar10.CLASSES, "notmnist": notmnist.CLASSES, "coil20": coil20.CLASSES}
# The coarse labels that benchmark sets have without a grouping in the recipe.
GROUPINGS = {"mnist": CoarseGrouping.from_mapping(mnist.COARSE, mnist.CLASSES)}
SPLITS = ("train", "test")

__all__ = [
    "CLASSES",
    "GROUPINGS",
    "LOADERS",
    "UNKNOWN",
    "LabelledImages",
    "classes_of",
    "load",
    "load_folder",
    "load_named",
    "parse",
]


def classes_of(name: str, path: Path | None = None) -> tuple[str, ...]:
    """Return the names of a data set's fine classes; for a ``folder`` see ``folder_names`` without given labels.

    Raises:
        UserError: the folder cannot be read, or ``reference/`` is of another form.
    """
    return folder_names(path, given=False).classes if name == "folder" else CLASSES[name]


def load_named(name: str, split: str, path: Path | None = None) -> LabelledImages:
    """Return one split of a data set, loaded by its name.

    Args:
        name: ``mnist``, ``cifar10``, ``notmnist``, ``coil20`` or ``folder``.
        split: ``train`` or ``test``.
        path: folder or file of the data set; the embedded copy by default where there is one.

    Raises:
        UserError: unknown name or split, or files that are missing or damaged.
    """
    if name not in LOADERS:
        raise UserError(f"There is no data set {name!r}; choose one of {', '.join(LOADERS)}.")
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r}; choose train or test.")
    return LOADERS[name](split, path)


def load(spec: str) -> LabelledImages:
    """Return ``NAME:SPLIT`` or ``NAME:PATH:SPLIT``, for example ``mnist:test``; ``folder:PATH`` is its test split.

    Raises:
        UserError: as ``load_named``, and for a specification of another form.
    """
    return load_named(*parse(spec))


def parse(spec: str) -> tuple[str, str, Path | None]:
    """Return the name, split and path in ``NAME:SPLIT``, ``NAME:PATH:SPLIT`` or ``folder:PATH``.

    ``folder:PATH`` is the test split, or the training split of a folder without one.

    Raises:
        UserError: another form.
    """
    name, _, rest = spec.partition(":")
    if name == "folder" and rest.rpartition(":")[2] not in SPLITS:
        folder = Path(rest) if rest else None
        rest += ":train" if has_split(folder, "train") and not has_split(folder, "test") else ":test"
    path, _, split = rest.rpartition(":")
    if not name or not split:
        raise UserError(f"The data {spec!r} must read NAME:SPLIT or NAME:PATH:SPLIT, as in mnist:test.")
    return name, split, Path(path) if path else None
