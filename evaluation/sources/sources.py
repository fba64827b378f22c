"""Where answers come from: one small interface, so that a bundle and a running service are scored alike."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.groups import CoarseGrouping
from clustnet.errors import UserError

BATCH = 256  # the last bit of an inference may depend on its batch, so every source gets the same ones


class Model(NamedTuple):
    """The name and version under which a model is published."""

    name: str
    version: str


@dataclass(frozen=True)
class Answers:
    """What a source says about N images.

    Args:
        model: who answered.
        routing: float32 [N, E] routing distribution.
        coarse_label: str [N] the predicted coarse label; ``all`` where there are none.
        coarse_probability: float32 [N] probability of that label, 0.5 to 1; 1 where there are none.
        class_probability: float32 [N, C] probability of each fine class.
        confidence: float32 [N] how like the training images an image is, above 0 to 1.
        abstain: bool [N] whether that is under the model's threshold.
    """

    model: Model
    routing: NDArray[np.float32]
    coarse_label: NDArray[np.str_]
    coarse_probability: NDArray[np.float32]
    class_probability: NDArray[np.float32]
    confidence: NDArray[np.float32]
    abstain: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.routing)

    @property
    def expert(self) -> NDArray[np.int64]:
        """The expert that each image is routed to, int64 [N]."""
        top: NDArray[np.int64] = self.routing.argmax(axis=1)
        return top

    @property
    def guess(self) -> NDArray[np.int64]:
        """The most probable fine class of each image, int64 [N]."""
        top: NDArray[np.int64] = self.class_probability.argmax(axis=1)
        return top

    @property
    def guess_probability(self) -> NDArray[np.float32]:
        """The probability of the guess, float32 [N]."""
        top: NDArray[np.float32] = self.class_probability.max(axis=1)
        return top


class Source(Protocol):
    """Something that answers images."""

    def answer(self, images: NDArray[np.uint8]) -> Answers:
        """Answer one batch: uint8 [N, H, W] or [N, H, W, 3], at most ``BATCH`` images."""

    def grouping(self, seen: Collection[str]) -> CoarseGrouping:
        """Return the fine classes behind the coarse labels; ``seen`` are those that were answered."""

    def description(self) -> dict[str, Any]:
        """Return what the report says of this source, ready for JSON."""


def answer_all(source: Source, images: NDArray[np.uint8], progress: Callable[[range], Iterable[int]] = iter) -> Answers:
    """Answer all images, ``BATCH`` at a time.

    Args:
        source: who answers.
        images: uint8 [N, H, W] or [N, H, W, 3], N at least 1.
        progress: wraps the first index of each batch, to show how far it is.

    Raises:
        UserError: the source cannot answer, or changed its model on the way.
    """
    starts = range(0, len(images), BATCH)
    return _joined([source.answer(images[start : start + BATCH]) for start in progress(starts)])


def check_one_model(parts: Iterable[Answers]) -> None:
    """Check that one model gave all these answers.

    Raises:
        UserError: a service changed its model on the way.
    """
    models = {part.model for part in parts}
    if len(models) > 1:
        names = " and ".join(sorted(f"{model.name} {model.version}" for model in models))
        raise UserError(f"The service changed its model during the evaluation ({names}); evaluate it again.")


def _joined(parts: list[Answers]) -> Answers:
    check_one_model(parts)
    return Answers(
        parts[0].model,
        np.concatenate([part.routing for part in parts]),
        np.concatenate([part.coarse_label for part in parts]),
        np.concatenate([part.coarse_probability for part in parts]),
        np.concatenate([part.class_probability for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.abstain for part in parts]),
    )
