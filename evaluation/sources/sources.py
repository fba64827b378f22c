"""Where answers come from: one small interface, so that a bundle and a running service are scored alike."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.answers import Answers, ModelName
from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets.folder_layout import FolderNames

# The last bit of an inference may depend on its batch, so every source gets the same ones.
BATCH = 256

Progress = Callable[[range], Iterable[int]]


@dataclass(frozen=True)
class ModelInfo:
    """What a source says of its model before it answers.

    Args:
        model: its name and version.
        input: what it reads.
        class_names: the names of the C classes that it guesses.
        grouping: the classes of each of the K coarse labels.
        named: whether a person named any of the classes; otherwise all of them are numbered.
        class_map: where its class map comes from, ready for JSON.
    """

    model: ModelName
    input: InputSpec
    class_names: tuple[str, ...]
    grouping: CoarseGrouping
    named: bool
    class_map: dict[str, Any]

    @property
    def folder_names(self) -> FolderNames:
        """What folders of images may be named for: coarse labels, and classes where these are named."""
        if self.named:
            return FolderNames(self.grouping, self.class_names)
        return FolderNames(CoarseGrouping(self.grouping.labels, ((),) * len(self.grouping.labels)))


class Source(Protocol):
    """Something that answers images."""

    @property
    def info(self) -> ModelInfo:
        """What the source says of its model."""

    def answer(self, images: NDArray[np.uint8]) -> Answers:
        """Answer one batch: uint8 [N, H, W] or [N, H, W, 3], at most ``BATCH`` images."""

    def description(self) -> dict[str, Any]:
        """Return where the source is, ready for JSON: its ``bundle`` or its ``url``."""


def answer_all(source: Source, images: NDArray[np.uint8], progress: Progress = iter) -> Answers:
    """Return the answers for all images, which are sent ``BATCH`` at a time.

    Args:
        source: what answers.
        images: uint8 [N, H, W] or [N, H, W, 3], N at least 1.
        progress: wraps the first index of each batch, to show progress.

    Raises:
        UserError: the source cannot answer.
    """
    starts = range(0, len(images), BATCH)
    parts = [source.answer(images[start : start + BATCH]) for start in progress(starts)]
    return Answers(
        model=parts[0].model,
        coarse_labels=parts[0].coarse_labels,
        coarse_probability=np.concatenate([part.coarse_probability for part in parts]),
        routing=np.concatenate([part.routing for part in parts]),
        class_probability=np.concatenate([part.class_probability for part in parts]),
        guess=np.concatenate([part.guess for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        abstain=np.concatenate([part.abstain for part in parts]),
    )
