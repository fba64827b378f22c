"""Run a mixture over many images, for scores and for fitting the class map."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clustnet.bundles.routing import coarse_probability as mixture_probability
from clustnet.bundles.routing import routing_weights
from training.engine.collectives import in_shares
from training.models.mixture import GatedExperts, MixtureOutput, coarse_probability

# Images, few enough for the activations to stay in cache; 1000 was twice as slow on 2 cores.
BATCH = 128


# From 0 to 255: uint8, or the scaled numbers of rows that are not images.
Images = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Routed:
    """What a mixture predicts for N images.

    Args:
        routing: float32 [N, E], routing distribution.
        expert_probability: float32 [N, E, K], each expert's distribution over the coarse labels.
        weights: float32 [N, E], what combines the experts: the routing, or its one-hot maximum.
    """

    routing: NDArray[np.float32]
    expert_probability: NDArray[np.float32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, outputs: Sequence[MixtureOutput], hard: bool) -> "Routed":
        """Return a model's outputs for several batches as one; ``hard`` if one expert alone decides."""
        routing = torch.cat([output.log_routing.exp() for output in outputs]).cpu().numpy()
        probability = torch.cat([coarse_probability(output.expert_logit) for output in outputs]).cpu().numpy()
        return cls(routing, probability, routing_weights(routing, hard).astype(np.float32))

    @property
    def coarse_probability(self) -> NDArray[np.float32]:
        """The mixture's distribution over the coarse labels, float32 [N, K]."""
        return mixture_probability(self.weights, self.expert_probability).astype(np.float32)


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


def batches(images: Images) -> Iterator[Tensor]:
    """Yield ``BATCH`` images at a time as tensors; they are copied, as torch takes no read-only array."""
    for start in range(0, len(images), BATCH):
        yield _batch(images, start)


def route(model: GatedExperts, images: Images, hard: bool) -> Routed:
    """Route images [N, ...] in evaluation mode, on the model's device, in batches that processes share."""
    with evaluating(model) as device:
        starts = range(0, len(images), BATCH)
        joined = in_shares(lambda start: _joined(model(_batch(images, start).to(device))), starts)
        return Routed.of([MixtureOutput(joined[:, :, 0].contiguous(), joined[:, :, 1:].contiguous())], hard)


def _joined(output: MixtureOutput) -> Tensor:
    """Return both parts of an output as one tensor, float32 [N, E, 1 + L], for processes to exchange at once."""
    return torch.cat([output.log_routing.unsqueeze(2), output.expert_logit], dim=2)


def _batch(images: Images, start: int) -> Tensor:
    return torch.from_numpy(images[start : start + BATCH].copy())
