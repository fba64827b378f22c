"""Where answers come from: one small interface, so that a bundle and a running service are scored alike."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.answers import Answers
from clustnet.bundles.groups import CoarseGrouping
from clustnet.errors import UserError

BATCH = 256  # the last bit of an inference may depend on its batch, so every source gets the same ones


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
