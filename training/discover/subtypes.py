"""The table of all images, ``subtypes.csv``: their subtype, how sure that is, and what a person should look at.

The subtypes are the cells in use, as in a bundle that is exported from the run: ``LABEL/1`` is the largest.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError
from clustnet.files import replacing

SUBTYPES = "subtypes.csv"
# The share of its coarse label's training images that a cell in use has, and about how many images the export counts.
MIN_CELL_SHARE, COUNTED_IMAGES = 0.01, 10_000
# Interquartile ranges above the upper quartile (Tukey, "Exploratory Data Analysis", 1977).
FAR_OUT = 1.5

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class Row(NamedTuple):
    """An image in the table.

    Args:
        file: its name in IMAGES.
        split: ``train`` or ``test``.
        coarse: its coarse label.
        subtype: ``LABEL/1``, ``LABEL/2``, ...
        name: what a person calls the subtype; its id until then.
        confidence: the probability of the subtype among those of its coarse label.
        typicality: the share of its subtype's images that are at least as far from the mean of the subtype.
        outlier: 1 if it lies far from all others.
        suspect: the coarse label that it probably has instead; empty if its own seems right.
        duplicate_of: the first image that it nearly equals; empty if there is none.
    """

    file: str
    split: str
    coarse: str
    subtype: str
    name: str
    confidence: float
    typicality: float
    outlier: int
    suspect: str
    duplicate_of: str


@dataclass(frozen=True)
class Assignment:
    """Which subtype each image has.

    Args:
        names: ids of the C subtypes, by coarse label, the largest of each first.
        labels: the coarse label of each subtype.
        subtype: int64 [N], 0 to C - 1.
        confidence: float32 [N], see ``Row``.
        titles: what a person calls each subtype, or its id if nobody named it; empty if nobody named any.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    subtype: Labels
    confidence: Floats
    titles: tuple[str, ...] = ()


class Routing(NamedTuple):
    """What a trained model says about the images of one split.

    Args:
        files: file of each image, relative to the folder of the data.
        coarse: int64 [N], the predicted coarse labels.
        routing: float32 [N, E], the routing distributions.
    """

    files: list[str]
    coarse: Labels
    routing: Floats


def read_routing(path: Path) -> Routing:
    """Return the table of images that a run wrote after its last epoch; ``files`` is empty if images have none.

    Raises:
        UserError: it is missing.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; remove the run's folder and start again.")
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    files = [row[0] for row in rows] if header[0] == "file" else []
    label, experts = (_columns(header, rows, word) for word in ("log_probability_", "routing_"))
    return Routing(files, label.argmax(axis=1), experts.astype(np.float32))


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]], word: str) -> NDArray[np.float64]:
    """Return the columns whose names begin with a word, float64 [N, columns]."""
    places = [place for place, name in enumerate(header) if name.startswith(word)]
    return np.array([[row[place] for place in places] for row in rows], np.float64)


def assigned(
    files: Sequence[str], coarse: Labels, labels: Sequence[str], train: Routing, test: Routing | None
) -> Assignment:
    """Return the subtype of each image by a trained model: the most probable cell in use of its own coarse label.

    Args:
        files: files of all N images, as the routings name them.
        coarse: int64 [N], their coarse labels.
        labels: the names of the K coarse labels.
        train: routing of the training images.
        test: routing of the other images; None if there are none.
    """
    place = {file: number for number, file in enumerate(files)}
    routing = np.zeros((len(files), train.routing.shape[1]), np.float32)
    for part in (train, *([] if test is None else [test])):
        routing[[place[file] for file in part.files]] = part.routing
    own = coarse[[place[file] for file in train.files]]
    counts = cell_counts(train, own, len(labels))
    cells = [_used(counts[:, label], int((own == label).sum())) for label in range(len(labels))]
    subtype, confidence, first = np.zeros(len(files), np.int64), np.ones(len(files), np.float32), 0
    for label, experts in enumerate(cells):
        inside = np.flatnonzero(coarse == label)
        share = routing[inside][:, experts]
        subtype[inside] = first + share.argmax(axis=1)
        confidence[inside] = share.max(axis=1) / np.maximum(share.sum(axis=1), 1e-12)
        first += len(experts)
    return _named(labels, [len(experts) for experts in cells], subtype, confidence)


def cell_counts(train: Routing, own: Labels, labels: int) -> Labels:
    """Return the number of training images in each cell of their own coarse label, int64 [E, K], as the export does."""
    some = slice(None, None, max(1, len(own) // COUNTED_IMAGES))
    right = train.coarse[some] == own[some]
    counts = np.zeros((train.routing.shape[1], labels), np.int64)
    np.add.at(counts, (train.routing[some].argmax(axis=1)[right], own[some][right]), 1)
    return counts


def _used(counts: Labels, images: int) -> list[int]:
    """Return the experts whose cells are in use, the largest cell first; at least one."""
    order = sorted(range(len(counts)), key=lambda expert: -counts[expert])
    return [expert for expert in order if counts[expert] >= max(1, MIN_CELL_SHARE * images)] or order[:1]


def of_clusters(clusters: Labels, coarse: Labels, labels: Sequence[str]) -> Assignment:
    """Return the subtype of each image by its cluster, where no model was trained.

    Args:
        clusters: int64 [N], numbered from 0 within each coarse label, the largest first.
        coarse: int64 [N], coarse labels 0 to K - 1.
        labels: the names of the K coarse labels.
    """
    counts = [int(clusters[coarse == label].max(initial=0)) + 1 for label in range(len(labels))]
    first = np.cumsum([0, *counts])
    return _named(labels, counts, first[coarse] + clusters, np.ones(len(clusters), np.float32))


def _named(labels: Sequence[str], counts: Sequence[int], subtype: Labels, confidence: Floats) -> Assignment:
    pairs = [(label, number) for label, count in zip(labels, counts, strict=True) for number in range(1, count + 1)]
    names = tuple(f"{label}/{number}" for label, number in pairs)
    return Assignment(names, tuple(label for label, _ in pairs), subtype, confidence)


def typicality(rows: Floats, subtype: Labels) -> Floats:
    """Return for each image the share of its subtype's images that are at least as far from their mean, float32 [N]."""
    found = np.zeros(len(rows), np.float32)
    for number in np.unique(subtype):
        inside = np.flatnonzero(subtype == number)
        far = np.linalg.norm(rows[inside] - rows[inside].mean(axis=0), axis=1)
        found[inside[np.argsort(-far, kind="stable")]] = (np.arange(len(inside)) + 1) / len(inside)
    return found


def outliers(distance: Floats) -> NDArray[np.bool_]:
    """Return whether each image lies far from all others, bool [N].

    Args:
        distance: float32 [N], the distance of each image to its fifth nearest neighbour.
    """
    low, high = np.quantile(distance, (0.25, 0.75))
    far: NDArray[np.bool_] = distance > high + FAR_OUT * (high - low)
    return far


def write_subtypes(path: Path, rows: Sequence[Row]) -> None:
    """Write the table, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [Row._fields, *([*row[:5], f"{row.confidence:.4f}", f"{row.typicality:.4f}", *row[7:]] for row in rows)]
        )


def read_subtypes(path: Path) -> list[Row]:
    """Return the rows of a table of subtypes."""
    with path.open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    return [
        Row(row[0], row[1], row[2], row[3], row[4], float(row[5]), float(row[6]), int(row[7]), row[8], row[9])
        for row in rows
    ]


class Summary(NamedTuple):
    """The summary of a subtype.

    Args:
        label: its coarse label.
        subtype: its id.
        images: how many training and test images it has.
        sure: their mean confidence.
        nearest: the nearest other subtype of its coarse label; empty for the only one.
        distance: the distance to that; 0 for the only one.
    """

    label: str
    subtype: str
    images: int
    sure: float
    nearest: str
    distance: float


def summaries(found: Assignment, near: Mapping[str, tuple[str, float]]) -> list[Summary]:
    """Return the summary of each subtype, in the order of ``found.names``."""
    lines = []
    for number, (name, label) in enumerate(zip(found.names, found.labels, strict=True)):
        inside = found.subtype == number
        sure = float(found.confidence[inside].mean()) if inside.any() else 0.0
        lines.append(Summary(label, name, int(inside.sum()), sure, *near.get(name, ("", 0.0))))
    return lines


def read_summaries(path: Path) -> list[Summary]:
    """Return the summaries of a run's subtypes."""
    with path.open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    return [Summary(row[0], row[1], int(row[2]), float(row[3]), row[4], float(row[5])) for row in rows]


def table_text(lines: Sequence[Summary]) -> str:
    """Return the subtypes as a table for a terminal."""
    header = ("label", "subtype", "images", "sure", "nearest other")
    cells = [(line.label, line.subtype, f"{line.images:,}", f"{line.sure:.0%}", _near(line)) for line in lines]
    widths = [max(len(row[column]) for row in [header, *cells]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if column in (2, 3) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *cells]
    )


def _near(line: Summary) -> str:
    return f"{line.nearest} (distance {line.distance:.1f})" if line.nearest else ""
