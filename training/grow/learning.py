"""The training of one node, epoch by epoch."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from training.data.augmentation import random_view, viewed
from training.engine.seeding import DrawingFrom
from training.grow.batches import Batch, Batches, NodeBatches
from training.grow.config import GrowRecipe
from training.grow.data import GrowImages
from training.grow.hierarchy import Labels
from training.grow.modes import distillation, optimiser_of, set_training
from training.grow.network import GrownNetwork
from training.grow.streams import stream
from training.methods.method import DivergedError

# Share of all steps in which the step size rises.
RISING = 0.2


class EpochResult(NamedTuple):
    """One finished epoch: its number from 1, the mean loss in nats, and the accuracy on the node's batches."""

    epoch: int
    loss: float
    accuracy: float


@dataclass
class Learner:
    """Trains one node, or all of them at once.

    Args:
        network: the network, which is changed.
        node: the node that is learnt; the root for all at once.
        images: images of the run.
        batches: draws the batches.
        optimiser: steps what may change, with the largest step size of each group under ``peak``.
        recipe: recipe of the run.
        epochs: number of epochs.
        teacher: the network before the node was added, whose answers are to be kept; None for none.
    """

    network: GrownNetwork
    node: Labels
    images: GrowImages
    batches: Batches
    optimiser: Optimizer
    recipe: GrowRecipe
    epochs: int
    teacher: GrownNetwork | None = None

    def run(self, start: int = 0) -> Iterator[EpochResult]:
        """Train from epoch ``start + 1`` to the last, and yield after each.

        Raises:
            DivergedError: the weights overflow.
        """
        total = self.epochs * self.batches.steps
        for epoch in range(start, self.epochs):
            set_training(self.network)
            generator = stream(self.recipe.seed, self.node, "batches", epoch)
            losses, right, seen = 0.0, 0, 0
            for step, batch in enumerate(self.batches.epoch(generator), epoch * self.batches.steps):
                set_step_sizes(self.optimiser, step / total)
                loss, logits = self._loss(batch, generator)
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimiser.step()
                losses += float(loss.detach())
                right += int((logits.argmax(dim=1) == batch.targets[self.node]).sum())
                seen += len(logits)
            if not torch.isfinite(torch.tensor(losses)):
                raise DivergedError("The training diverged; lower optimisation.learning_rate.")
            self.network.eval()
            yield EpochResult(epoch + 1, losses / self.batches.steps, right / seen)

    def _loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, in nats, and the logits of the node that is learnt."""
        raw = self.images.images[batch.places]
        pixels = self._pixels(raw, generator)
        members = dict(batch.members)
        if self.teacher is not None:
            members |= dict.fromkeys(self.teacher.learnt, torch.arange(len(raw)))
        logits = self.network.logits_of(pixels, members)
        losses = {node: cross_entropy(logits[node], target) for node, target in batch.targets.items()}
        loss = losses.pop(self.node)
        weight = 1.0 if self.recipe.mode != "replay" else self.recipe.forgetting.weight / max(1, len(losses))
        loss = loss + weight * sum(losses.values(), start=loss.new_zeros(()))
        if self.teacher is not None:
            loss = loss + self.recipe.forgetting.weight * self._moved(logits, pixels)
        return loss, logits[self.node]

    def _moved(self, logits: dict[Labels, Tensor], pixels: Tensor) -> Tensor:
        assert self.teacher is not None  # noqa: S101 - the caller's condition
        with torch.no_grad():
            before = self.teacher.all_logits(pixels)
        now = [logits[node] for node in before]
        return distillation(now, list(before.values()), self.recipe.forgetting.temperature)

    def _pixels(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return a normalised random view of raw images; embeddings are returned as they are."""
        if self.network.spec.image_shape is None:
            return raw
        view = random_view(len(raw), self.recipe.augmentation, generator)
        return viewed(self.network.normalise, raw, view).contiguous(memory_format=torch.channels_last)

    def state(self) -> dict[str, Any]:
        """Return the state of the optimiser."""
        return {"optimiser": self.optimiser.state_dict()}


def set_step_sizes(optimiser: Optimizer, done: float) -> None:
    """Set the step size of each group to the same share of its peak, so that their ratios stay the same.

    Args:
        optimiser: optimiser whose groups have a ``peak``.
        done: share of all steps that are done, from 0 to below 1.
    """
    share = (done + 0.01) / (RISING + 0.01) if done < RISING else (1 - done) / (1 - RISING)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share


def add_node(network: GrownNetwork, images: GrowImages, node: Labels, seed: int) -> None:
    """Add the module of a node, with weights drawn from the node's own stream."""
    with DrawingFrom(stream(seed, node, "weights")):
        network.grow(node, images.hierarchy.children(node))


def new_network(images: GrowImages, seed: int) -> GrownNetwork:
    """Return a network without modules, with weights drawn from the stem's own stream."""
    with DrawingFrom(stream(seed, (), "stem")):
        network = GrownNetwork(images.spec)
    return network.to(memory_format=torch.channels_last)


def learner_of(network: GrownNetwork, images: GrowImages, node: Labels, recipe: GrowRecipe, epochs: int) -> Learner:
    """Return the learner of the node that was added last, in the recipe's mode."""
    earlier = [other for other in network.learnt if other != node]
    kept = earlier if recipe.mode == "replay" else []
    teacher = None
    if recipe.mode == "lwf" and earlier:
        teacher = without(network, node)
    batches = NodeBatches(images, node, recipe, kept)
    return Learner(network, node, images, batches, optimiser_of(network, node, recipe), recipe, epochs, teacher)


def without(network: GrownNetwork, node: Labels) -> GrownNetwork:
    """Return a frozen copy of a network as it was before its last node was added."""
    last = network.learnt[-1]
    if node != last:
        raise ValueError(f"{node} is not the last node, {last}")
    copied = deepcopy(network)
    copied.forget_last()
    return copied.requires_grad_(False).eval()
