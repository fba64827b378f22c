"""Run a mixture over many images, for scores and for fitting the class map."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clustnet.bundles.routing import routing_weights
from training.engine.collectives import in_shares
from training.models.mixture import GatedExperts, MixtureOutput

BATCH = 128  # small enough for the activations to stay in cache; 1000 was twice as slow on 2 cores


@dataclass(frozen=True)
class Routed:
    """What a mixture says of N images.

    Args:
        routing: float32 [N, E], routing distribution.
        expert_probability: float32 [N, E], each expert's probability of the positive coarse label.
        weights: float32 [N, E], what combines the experts: the routing, or its one-hot maximum.
    """

    routing: NDArray[np.float32]
    expert_probability: NDArray[np.float32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, outputs: Sequence[MixtureOutput], hard: bool) -> "Routed":
        """Join a model's outputs of several batches; ``hard`` if one expert alone decides."""
        routing = torch.cat([output.log_routing.exp() for output in outputs]).cpu().numpy()
        probability = torch.cat([output.expert_logit.sigmoid() for output in outputs]).cpu().numpy()
        return cls(routing, probability, routing_weights(routing, hard).astype(np.float32))

    @property
    def positive_probability(self) -> NDArray[np.float32]:
        """The mixture's probability of the positive coarse label, float32 [N]."""
        probability: NDArray[np.float32] = (self.weights * self.expert_probability).sum(axis=1)
        return probability


@contextmanager
def evaluating(model: nn.Module) -> Iterator[torch.device]:
    """Put a model into evaluation mode, without gradients, for the length of the block; yield its device."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield next(model.parameters()).device
    finally:
        model.train(was_training)


def batches(images: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Yield ``BATCH`` images at a time as tensors; they are copied, as torch takes no array that is read-only."""
    for start in range(0, len(images), BATCH):
        yield _batch(images, start)


def route(model: GatedExperts, images: NDArray[np.uint8], hard: bool) -> Routed:
    """Route images uint8 [N, ...] in evaluation mode, on the model's device, in batches that processes share."""
    with evaluating(model) as device:
        starts = range(0, len(images), BATCH)
        both = in_shares(lambda start: torch.cat(model(_batch(images, start).to(device)), dim=1), starts)
        log_routing, expert_logit = (half.contiguous() for half in both.chunk(2, dim=1))
        return Routed.of([MixtureOutput(log_routing, expert_logit)], hard)


def _batch(images: NDArray[np.uint8], start: int) -> Tensor:
    return torch.from_numpy(images[start : start + BATCH].copy())
