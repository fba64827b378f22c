"""Scores of images in files, which are read as they are needed: any number of them in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pyarrow import fs

from clustnet.bundles.predictor import Device
from clustnet.errors import UserError
from clustnet.files import shown
from clustnet.scores.tally import Tally, scores_of, tally
from evaluation.files.reading import Batch, Reader
from evaluation.files.units import Unit, list_units
from evaluation.files.unread import UnreadImages
from evaluation.sources.bundle_source import BundleSource
from evaluation.sources.sources import ModelInfo

PartProgress = Callable[[Iterable["Part"], int, Callable[["Part"], int]], Iterable["Part"]]


@dataclass(frozen=True)
class FileImages:
    """The images of files, which are not held in memory.

    Args:
        name: the files' pattern.
        images: how many were read.
        split: empty, as files have none.
    """

    name: str
    images: int
    split: str = ""

    def __len__(self) -> int:
        return self.images


@dataclass(frozen=True)
class FileEvaluation:
    """An evaluation of any number of images that holds only what their answers add up to.

    Args:
        data: the images.
        info: what the source says of its model.
        tally: what the scores are computed from.
        source: where the source is, ready for JSON.
        unread: what of the files could not be read.
        outliers: None, as files are compared with none.
        budget: None, as no class map is fitted on files.
    """

    data: FileImages
    info: ModelInfo
    tally: Tally
    source: dict[str, Any]
    unread: UnreadImages
    outliers: None = None
    budget: None = None

    @cached_property
    def scores(self) -> dict[str, float]:
        """See ``clustnet.scores.tally.scores_of``."""
        return scores_of(self.tally)


@dataclass(frozen=True)
class Part:
    """What one or more units add up to.

    Args:
        images: how many there were, whether they could be read or not.
        tally: the counts of the readable images; None if no image is readable.
        unread: the images that could not be read.
    """

    images: int
    tally: Tally | None
    unread: UnreadImages

    def __add__(self, other: "Part") -> "Part":
        tallies = [part.tally for part in (self, other) if part.tally is not None]
        both = sum(tallies[1:], tallies[0]) if tallies else None
        return Part(self.images + other.images, both, self.unread + other.unread)


NOTHING = Part(0, None, UnreadImages())


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
        self._reader = Reader(filesystem, self._source.info)

    def __call__(self, unit: Unit) -> Part:
        """Score one unit."""
        parts = map(self._scored, self._reader.batches(unit))
        return replace(sum(parts, NOTHING), images=unit.images)

    def _scored(self, batch: Batch) -> Part:
        """Score one batch; the unit counts its images."""
        unread = UnreadImages.of(batch.faults)
        if not batch.rows:
            return Part(0, None, unread)
        images = np.stack([row.image for row in batch.rows])
        coarse, fine = np.array([row.truth for row in batch.rows], np.int64).T
        grouping = self._source.info.grouping
        return Part(0, tally(self._source.answer(images), coarse, fine, grouping, images, batch.first), unread)


class Engine(Protocol):
    """A way to have units scored."""

    def __call__(self, bundle: Path, device: Device, filesystem: fs.FileSystem, units: list[Unit]) -> Iterator[Part]:
        """Yield the part of each unit, in any order."""


def score_here(bundle: Path, device: Device, filesystem: fs.FileSystem, units: list[Unit]) -> Iterator[Part]:
    """Yield the parts of units scored in this process, one after the other; an ``Engine``."""
    return map(Worker(bundle, device, filesystem), units)


def evaluate_files(
    pattern: str, bundle: Path, device: Device, engine: Engine, limit: int | None, progress: PartProgress
) -> FileEvaluation:
    """Score a bundle on the images of files.

    Args:
        pattern: see ``list_units``.
        bundle: its folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        engine: what scores the units.
        limit: how many images to score, from the first on; None for all.
        progress: wraps the parts, given the number of images and a function that returns a part's, to show progress.

    Raises:
        UserError: the bundle cannot be used, no files match, or none of them can be read.
    """
    # The bundle is opened here as well, so that a damaged bundle is reported before any work.
    source = BundleSource(bundle, device)
    listing = list_units(pattern).first(limit)
    parts = engine(bundle, device, listing.filesystem, listing.units)
    total = sum(progress(parts, listing.images, lambda part: part.images), Part(0, None, listing.unread))
    if total.tally is None:
        raise UserError(_nothing_read(pattern, total.unread))
    data = FileImages(shown(pattern), len(total.tally))
    return FileEvaluation(data, source.info, total.tally, source.description(), total.unread)


def _nothing_read(pattern: str, unread: UnreadImages) -> str:
    """Return why there is nothing to score."""
    if not unread.total:
        return f"The files {pattern!r} hold no images; name others."
    first = unread.listed[0]
    return f"Nothing in {pattern!r} can be read; the first fault is in {first.file}: {first.reason}"
