"""Labelled image sets, each read from files that the user has; nothing is downloaded."""

from pathlib import Path

from clustnet.datasets import cifar10, coil20, mnist, notmnist
from clustnet.datasets.labelled import LabelledImages
from clustnet.errors import UserError

LOADERS = {
    "mnist": mnist.load_mnist,
    "cifar10": cifar10.load_cifar10,
    "notmnist": notmnist.load_notmnist,
    "coil20": coil20.load_coil20,
}
CLASSES = {"mnist": mnist.CLASSES, "cifar10": cifar10.CLASSES, "notmnist": notmnist.CLASSES, "coil20": coil20.CLASSES}
SPLITS = ("train", "test")

__all__ = ["CLASSES", "LOADERS", "LabelledImages", "load", "load_named"]


def load_named(name: str, split: str, path: Path | None = None) -> LabelledImages:
    """Load one split of a data set by its name.

    Args:
        name: ``mnist``, ``cifar10``, ``notmnist`` or ``coil20``.
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
    """Load ``NAME:SPLIT`` or ``NAME:PATH:SPLIT``, for example ``mnist:test``.

    Raises:
        UserError: as ``load_named``, and for a specification of another form.
    """
    name, _, rest = spec.partition(":")
    path, _, split = rest.rpartition(":")
    if not name or not split:
        raise UserError(f"The data {spec!r} must read NAME:SPLIT or NAME:PATH:SPLIT, as in mnist:test.")
    return load_named(name, split, Path(path) if path else None)
