"""What a bundle or a running service answers to images, in one form for both."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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
