"""How much of the classes can be read off each layer of a trained network, beside the same network untrained.

The protocol of Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, as in Caron et al., arXiv:1807.05520:
the network is frozen, and a linear classifier learns the classes from a layer's pooled activations.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn

from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from training.data.data import load_split
from training.models.mixture import GatedExperts
from training.probe.activations import activations, image_spec, layers_of, pixels, untrained
from training.probe.classifiers import linear_probe, neighbour_accuracy
from training.recipe.recipe import Data
from training.runs.run_folder import RunFolder

ALL, PIXELS = ("all",), "pixels"
# The fewest training images, as step sizes are chosen by a part of them.
LEAST_IMAGES = 20
Row = dict[str, Any]


class Splits(NamedTuple):
    """Images of known classes, to learn from and to be scored on."""

    train: LabelledImages
    test: LabelledImages


def load_splits(data: Data) -> Splits:
    """Return the images of a data set.

    Raises:
        UserError: there is no test split, there are too few training images, or the class of an image is not known.
    """
    train, test = load_split(data, "train"), load_split(data, "test")
    if test is None:
        raise UserError(f"{data.path} has no test split, on which a probe is scored; add a folder test/.")
    for split in (train, test):
        if not split.labelled:
            raise UserError(
                f"The {split.split} images of {data.name} have no known classes, which a probe learns; name labelled "
                "data with --data."
            )
    if len(train) < LEAST_IMAGES:
        raise UserError(f"There are {len(train)} training images, too few for a probe; give {LEAST_IMAGES} or more.")
    return Splits(train, test)


def probe(folder: RunFolder, splits: Splits, wanted: Sequence[str] = ALL, seed: int = 0) -> list[Row]:
    """Return the accuracies of a run's layers, trained and untrained, one row for each layer and a last one for pixels.

    Args:
        folder: the run.
        splits: images of known classes.
        wanted: which layers, such as ``conv1`` and ``embedding``; ``all`` stands for all of them.
        seed: seeds the linear classifiers.

    Raises:
        UserError: the run has no finished epoch, no convolutions or not a wanted layer, or the images have another
            shape.
    """
    model, spec = folder.load_network(), image_spec(folder)
    _check_shape(splits, spec.image_shape)
    before = untrained(spec, folder.recipe().seed, splits.train.images)
    layers, others = (layers_of(network, splits.train.images[0]) for network in (model, before))
    rows: list[Row] = []
    for name in _names(wanted, list(layers)):
        found, plain = _accuracies(splits, seed, model, layers[name]), _accuracies(splits, seed, before, others[name])
        rows.append({"layer": name} | found | {f"untrained_{key}": plain[key] for key in ("linear", "neighbours")})
        print(line(rows[-1]), flush=True)
    rows.append({"layer": PIXELS} | _accuracies(splits, seed))
    print(line(rows[-1]), flush=True)
    return rows


def summary(splits: Splits) -> str:
    """Return a sentence that says which images a probe's figures were measured on."""
    train, test = splits
    return (
        f"Accuracy on {len(test):,} {test.split} images of {test.name}; learnt from {len(train):,} {train.split} "
        f"images of {len(train.classes)} classes."
    )


def line(row: Row) -> str:
    """Return a row of the table as it is printed."""
    accuracies = [row.get(key) for key in ("linear", "untrained_linear", "neighbours", "untrained_neighbours")]
    cells = "".join("       -    " if value is None else f"{value:12.4f}" for value in accuracies)
    return f"{row['layer']:<10}{row['values']:>7}{cells}"


def _check_shape(splits: Splits, shape: tuple[int, ...]) -> None:
    """Raise if the images have another shape than the network reads."""
    found = splits.train.images.shape[1:]
    if found != shape:
        given, read = ("x".join(map(str, sides)) for sides in (found, shape))
        raise UserError(
            f"The images of {splits.train.name} are {given}, but the run's network reads {read}; name "
            "others with --data."
        )


def _names(wanted: Sequence[str], known: list[str]) -> list[str]:
    """Return the layers to probe."""
    if tuple(wanted) == ALL:
        return known
    for name in wanted:
        if name not in known:
            raise UserError(f"There is no layer {name!r}; choose among {', '.join(known)}, or all.")
    return list(wanted)


def _accuracies(splits: Splits, seed: int, model: GatedExperts | None = None, layer: nn.Module | None = None) -> Row:
    """Return the scores of a linear classifier and of nearest neighbours on a layer's activations, or on pixels."""
    train, test = splits
    seen, unseen = (
        pixels(split.images) if model is None or layer is None else activations(model, split.images, layer)
        for split in splits
    )
    found = linear_probe(seen.reshape(len(train), -1), train.fine, unseen.reshape(len(test), -1), test.fine, seed)
    return {
        "values": seen[0].size,
        "linear": found.accuracy,
        "neighbours": neighbour_accuracy(seen.mean(axis=2), train.fine, unseen.mean(axis=2), test.fine),
        "rate": found.chosen.rate,
        "decay": found.chosen.decay,
    }
