"""The answers of a bundle or a running service to images, in one form for both."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ModelName(NamedTuple):
    """The name and version under which a model is published."""

    name: str
    version: str


@dataclass(frozen=True)
class Answers:
    """The answers to N images.

    Args:
        model: the model that answered.
        coarse_labels: the K coarse labels; ``("all",)`` where there are none.
        coarse_probability: float32 [N, K] probability of each coarse label.
        routing: float32 [N, E] routing distribution.
        class_probability: float32 [N, C] probability of each class.
        guess: int64 [N] the guessed class, see ``clustnet.bundles.class_map.guesses``.
        confidence: float32 [N] similarity of each image to the training images, above 0 and up to 1.
        abstain: bool [N] whether the confidence is below the model's threshold.
    """

    model: ModelName
    coarse_labels: tuple[str, ...]
    coarse_probability: NDArray[np.float32]
    routing: NDArray[np.float32]
    class_probability: NDArray[np.float32]
    guess: NDArray[np.int64]
    confidence: NDArray[np.float32]
    abstain: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.routing)

    @property
    def coarse(self) -> NDArray[np.int64]:
        """The most probable coarse label of each image, int64 [N]."""
        top: NDArray[np.int64] = self.coarse_probability.argmax(axis=1)
        return top

    @property
    def coarse_label(self) -> NDArray[np.str_]:
        """The name of the most probable coarse label of each image, str [N]."""
        return np.array(self.coarse_labels)[self.coarse]

    @property
    def expert(self) -> NDArray[np.int64]:
        """The most probable expert of each image, int64 [N]."""
        top: NDArray[np.int64] = self.routing.argmax(axis=1)
        return top

    @property
    def guess_probability(self) -> NDArray[np.float32]:
        """The probability of the guess, float32 [N]."""
        probability: NDArray[np.float32] = np.take_along_axis(self.class_probability, self.guess[:, None], axis=1)[:, 0]
        return probability
