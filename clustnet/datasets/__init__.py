"""Labelled image sets, each read from files that the user has; nothing is downloaded."""

from pathlib import Path

from clustnet.datasets import cifar10, coil20, mnist, notmnist
from clustnet.datasets.folder import folder_classes, load_folder
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
SPLITS = ("train", "test")

__all__ = [
    "CLASSES",
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
    """Return the names of a data set's fine classes; those of a ``folder`` stand in it.

    Raises:
        UserError: the folder does not tell them.
    """
    return folder_classes(path) if name == "folder" else CLASSES[name]


def load_named(name: str, split: str, path: Path | None = None) -> LabelledImages:
    """Load one split of a data set by its name.

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
    """Load ``NAME:SPLIT`` or ``NAME:PATH:SPLIT``, for example ``mnist:test``; ``folder:PATH`` is its ``test/``.

    Raises:
        UserError: as ``load_named``, and for a specification of another form.
    """
    return load_named(*parse(spec))


def parse(spec: str) -> tuple[str, str, Path | None]:
    """Return the name, split and path that ``NAME:SPLIT``, ``NAME:PATH:SPLIT`` or ``folder:PATH`` tells.

    Raises:
        UserError: another form.
    """
    name, _, rest = spec.partition(":")
    if name == "folder" and rest.rpartition(":")[2] not in SPLITS:
        rest += ":test"
    path, _, split = rest.rpartition(":")
    if not name or not split:
        raise UserError(f"The data {spec!r} must read NAME:SPLIT or NAME:PATH:SPLIT, as in mnist:test.")
    return name, split, Path(path) if path else None
