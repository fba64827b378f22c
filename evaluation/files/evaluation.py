"""Scores of images in files, which are read as they are needed: any number of them in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from pyarrow import fs

from clustnet.bundles.answers import Model
from clustnet.bundles.predictor import Device
from clustnet.errors import UserError
from clustnet.scores.tally import Tally, tally
from evaluation.files.reading import Batch, Reader
from evaluation.files.units import Unit, list_units
from evaluation.files.unread import Unread
from evaluation.report.scoring import FileEvaluation, FileImages
from evaluation.sources.bundle_source import BundleSource
from evaluation.sources.coarse_option import by_first_class

Progress = Callable[[Iterable["Part"], int, Callable[["Part"], int]], Iterable["Part"]]


@dataclass(frozen=True)
class Part:
    """What one or more units add up to.

    Args:
        images: how many there were, whether they could be read or not.
        tally: of those that could be read; None for none.
        unread: the others.
    """

    images: int
    tally: Tally | None
    unread: Unread

    def __add__(self, other: "Part") -> "Part":
        tallies = [part.tally for part in (self, other) if part.tally is not None]
        both = sum(tallies[1:], tallies[0]) if tallies else None
        return Part(self.images + other.images, both, self.unread + other.unread)


NOTHING = Part(0, None, Unread())


class Worker:
    """Scores units with a bundle, which is loaded once.

    Args:
        bundle: its folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        filesystem: where the units' files are.

    Raises:
        UserError: the bundle cannot be used.
    """

    def __init__(self, bundle: Path, device: Device, filesystem: fs.FileSystem) -> None:
        self._source = BundleSource(bundle, device)
        manifest = self._source.manifest
        self._grouping = by_first_class(manifest.grouping())
        self._reader = Reader(filesystem, manifest.input, manifest.fine_classes)

    def __call__(self, unit: Unit) -> Part:
        """Score one unit."""
        parts = map(self._scored, self._reader.batches(unit))
        return replace(sum(parts, NOTHING), images=unit.images)

    def _scored(self, batch: Batch) -> Part:
        unread = Unread.of(batch.faults)
        if not batch.rows:
            return Part(0, None, unread)
        images = np.stack([row.image for row in batch.rows])
        labels = np.array([row.label for row in batch.rows])
        found = tally(self._source.answer(images), labels, self._grouping, images, batch.first)
        return Part(0, found, unread)


class Engine(Protocol):
    """A way to have units scored."""

    def __call__(self, bundle: Path, device: Device, filesystem: fs.FileSystem, units: list[Unit]) -> Iterator[Part]:
        """Yield the part of each unit, in any order."""


def score_here(bundle: Path, device: Device, filesystem: fs.FileSystem, units: list[Unit]) -> Iterator[Part]:
    """Score the units in this process, one after the other; an ``Engine``."""
    return map(Worker(bundle, device, filesystem), units)


def evaluate_files(
    pattern: str, bundle: Path, device: Device, engine: Engine, limit: int | None, progress: Progress
) -> FileEvaluation:
    """Score a bundle on the labelled images of files.

    Args:
        pattern: see ``list_units``.
        bundle: its folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        engine: who scores the units.
        limit: score the first so many images only.
        progress: wraps the parts of so many images, each of its size, to show how far it is.

    Raises:
        UserError: the bundle cannot be used, no files match, or none of them can be read.
    """
    source = BundleSource(bundle, device)  # here as well, so that a damaged one is told before any work
    listing = list_units(pattern).first(limit)
    parts = engine(bundle, device, listing.filesystem, listing.units)
    total = sum(progress(parts, listing.images, lambda part: part.images), Part(0, None, listing.unread))
    if total.tally is None:
        raise UserError(_nothing_read(pattern, total.unread))
    manifest = source.manifest
    return FileEvaluation(
        FileImages(pattern, len(total.tally), manifest.fine_classes),
        Model(manifest.name, manifest.version),
        total.tally,
        by_first_class(manifest.grouping()),
        source.description(),
        total.unread,
    )


def _nothing_read(pattern: str, unread: Unread) -> str:
    if not unread.total:
        return f"The files {pattern!r} hold no images; name others."
    first = unread.listed[0]
    return f"Nothing of {pattern!r} can be read; the first fault is of {first.where}: {first.reason}"
