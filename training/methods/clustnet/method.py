"""The method ``clustnet``: a gate and its experts, trained on coarse labels alone.

After Tristan Gomez, "ClustNet", 2018: soft or hard routing, joint or alternating optimisation, optional
terms on the routing, optional autoencoder pre-training of the gate's encoder. What makes it discover fine classes
is added to it: an initial partition that the gate imitates, and the mutual information of two views.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import mse_loss, nll_loss
from torch.optim import SGD, Adam, Optimizer

from training.data.augmentation import Motions, moved, random_motions
from training.data.data import CoarseData
from training.engine.collectives import average_gradients, gathered, share
from training.engine.processes import on_first, say, stop_if_asked
from training.engine.seeding import epoch_generator, seed_everything
from training.losses.mixture_likelihood import hard_mixture_nll, soft_mixture_nll
from training.losses.mutual_information import group_mutual_information
from training.losses.routing_terms import routing_diversity, routing_entropy
from training.methods.clustnet.partition import Partition, partition
from training.methods.method import DivergedError, EpochLosses, Progress, State
from training.models.encoder import Decoder
from training.models.mixture import MixtureOfExperts, MixtureOutput, straight_through
from training.recipe.recipe import Optimisation, Recipe


class Stage(NamedTuple):
    """A stretch of epochs that take the same step on each batch of the same images.

    Args:
        name: as it stands in the scores.
        epochs: how many.
        step: takes the batch's number and its images' indices, and returns the loss.
    """

    name: str
    epochs: int
    step: Callable[[int, Tensor], Tensor]


class ClustNet:
    """A mixture of experts in training.

    Args:
        data: images and coarse labels.
        recipe: the hyper-parameters.
        accelerator: places the model and steps backwards; of several processes each takes its share of every batch.
    """

    def __init__(self, data: CoarseData, recipe: Recipe, accelerator: Accelerator) -> None:
        self.recipe, self.accelerator = recipe, accelerator
        self.data = data.to(accelerator.device)
        seed_everything(recipe.seed)
        network = MixtureOfExperts(recipe.model, data.images.shape[1:], data.mean, data.std)
        decoder = Decoder(network.pixel_shape, recipe.model.channels, recipe.model.embedding)
        self.network = network.to(accelerator.device)
        self.model = copy.deepcopy(self.network) if recipe.optimisation.averaging else self.network
        self.decoder = decoder.to(accelerator.device)
        self.optimizers: dict[str, Optimizer] = {
            "gate": _optimizer(list(self.network.gate_parameters()), recipe.optimisation),
            "experts": _optimizer(list(self.network.experts.parameters()), recipe.optimisation),
            "autoencoder": Adam(
                [*self.network.encoder.parameters(), *self.decoder.parameters()],
                recipe.pretraining.learning_rate,
            ),
        }
        self.partition: Partition | None = None
        self._expert_of_image: Tensor  # int64 [N], kept with the partition; -1 for images outside it
        self.stages = [
            Stage("pretrain", recipe.pretraining.epochs, self._reconstruct),
            Stage("imitate", recipe.partition.epochs, self._imitate),
            Stage("train", recipe.optimisation.epochs, self._route),
        ]

    @property
    def epochs(self) -> int:
        """All epochs of the method."""
        return sum(stage.epochs for stage in self.stages)

    def run(self, start: int, progress: Progress) -> Iterator[EpochLosses]:
        """Train from epoch ``start + 1`` to the last and yield each epoch's mean losses."""
        order = [stage for stage in self.stages for _ in range(stage.epochs)]
        for epoch in range(start + 1, self.epochs + 1):
            yield self._epoch(epoch, order[epoch - 1], progress)

    def state(self) -> State:
        """Return everything that training goes on from; ``model`` is what is scored and exported."""
        return {name: part.state_dict() for name, part in self._parts().items()} | self._partition_state()

    def restore(self, state: State) -> None:
        """Go on from what ``state`` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        if "partition" in state:
            self._keep(_unpacked(state["partition"]))

    def _parts(self) -> dict[str, nn.Module | Optimizer]:
        networks = {"model": self.model, "network": self.network, "decoder": self.decoder}
        if self.model is self.network:
            del networks["network"]
        return networks | self.optimizers

    def _partition_state(self) -> State:
        return {} if self.partition is None else {"partition": _packed(self.partition)}

    def _epoch(self, epoch: int, stage: Stage, progress: Progress) -> EpochLosses:
        """Run one epoch whose random numbers depend on the seed and the epoch alone."""
        images = np.resize(self._parted().indices, len(self.data.images)) if stage.step == self._imitate else None
        generator = epoch_generator(self.recipe.seed, epoch)
        batches = self.data.batches(self.recipe.optimisation.batch_size, generator, images)
        self.network.train()
        total, seen = torch.zeros((), device=self.accelerator.device), 0
        for index, chosen in enumerate(progress(batches, len(batches))):
            stop_if_asked()
            self._schedule(epoch - 1 + index / len(batches))
            total += stage.step(index, chosen) * len(chosen)
            seen += len(chosen)
        return EpochLosses(epoch, stage.name, float(total) / seen)

    def _reconstruct(self, _: int, chosen: Tensor) -> Tensor:
        """Step the autoencoder on one batch and return its mean squared error."""
        pixels = self.network.normalise(self.data.images[chosen])
        decoded = self.decoder(self.network.encoder(share(pixels)))
        loss = mse_loss(gathered(decoded, len(chosen)), pixels)
        self._step(loss, ["autoencoder"])
        self._average(0.0)
        return loss.detach()

    def _imitate(self, _: int, chosen: Tensor) -> Tensor:
        """Step gate and experts towards the initial partition on one batch and return the loss."""
        output = self._output([self._view(chosen)], len(chosen))
        wanted = self._expert_of_image[chosen]
        loss = self._loss(output, self.data.targets[chosen]) + nll_loss(output.log_routing, wanted)
        self._step(loss, ["gate", "experts"])
        self._average(0.0)
        return loss.detach()

    def _route(self, index: int, chosen: Tensor) -> Tensor:
        """Step the gate, the experts or both on one batch and return the loss."""
        targets, weight = self.data.targets[chosen], self.recipe.loss.mutual_information
        views = [self._view(chosen) for _ in range(2 if weight else 1)]
        output = self._output(views, len(chosen))
        loss = self._loss(output, targets.repeat(len(views)))
        if weight:
            first, second = output.log_routing.exp().chunk(2)
            loss = loss - weight * group_mutual_information(first, second, targets)
        self._step(loss, _turn(index, self.recipe.optimisation.batch_period))
        self._average(self.recipe.optimisation.averaging)
        return loss.detach()

    def _view(self, chosen: Tensor) -> Tensor:
        """Return this process's share of the chosen images, normalised, in random views if the recipe asks for them.

        Random numbers are drawn for all of them, so that a view does not depend on the number of processes.
        """
        motions = random_motions(len(chosen), self.recipe.augmentation)
        mine = None if motions is None else Motions(*map(share, motions))
        return moved(self.network.normalise(self.data.images[share(chosen)]), mine)

    def _output(self, views: list[Tensor], images: int) -> MixtureOutput:
        """Route the views of a batch of so many images, of which each process has its share, in the recipe's precision.

        Raises:
            DivergedError: the weights have diverged.
        """
        pixels, low = torch.cat(views), self.recipe.optimisation.precision == "bfloat16"
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=low):
            parts = self.network.route(pixels)
        output = MixtureOutput(*(gathered(part.float(), images, len(views)) for part in parts))
        if not (output.log_routing.sum() + output.expert_logit.sum()).isfinite():
            raise DivergedError(
                "The training diverged: the model's outputs overflow; lower optimisation.learning_rate."
            )
        return output

    def _loss(self, output: MixtureOutput, targets: Tensor) -> Tensor:
        weights = self.recipe.loss
        if self.recipe.routing == "hard":
            loss = hard_mixture_nll(straight_through(output.log_routing), output.expert_logit, targets)
        else:
            loss = soft_mixture_nll(output.log_routing, output.expert_logit, targets)
        if weights.routing_entropy:
            loss = loss + weights.routing_entropy * routing_entropy(output.log_routing)
        if weights.routing_diversity:
            loss = loss - weights.routing_diversity * routing_diversity(output.log_routing)
        return loss

    def _step(self, loss: Tensor, names: list[str]) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        self.accelerator.backward(loss)
        for name in names:
            average_gradients(part for group in self.optimizers[name].param_groups for part in group["params"])
            self.optimizers[name].step()

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        """Move the scored model towards the trained network, all the way for a decay of 0."""
        if self.model is self.network:
            return
        for kept, new in zip(self.model.state_dict().values(), self.network.state_dict().values(), strict=True):
            kept.lerp_(new, 1 - decay) if kept.is_floating_point() else kept.copy_(new)

    def _schedule(self, position: float) -> None:
        """Set the step size of gate and experts at a position counted in epochs from the first."""
        if self.recipe.optimisation.schedule == "constant":
            return
        before = self.recipe.pretraining.epochs
        done = max(0.0, (position - before) / (self.epochs - before))
        for name in ("gate", "experts"):
            for group in self.optimizers[name].param_groups:
                group["lr"] = self.recipe.optimisation.learning_rate * (1 + math.cos(math.pi * done)) / 2

    def _parted(self) -> Partition:
        """Return the initial partition, made when it is first asked for."""
        return self.partition or self._keep(_unpacked(on_first(self._part)))

    def _part(self) -> dict[str, Tensor]:
        """Make the initial partition."""
        recipe = self.recipe
        parted, trial = partition(self.data, recipe.clusters(), recipe.partition.images, recipe.seed)
        say("\n".join(trial.lines(recipe.data.grouping().labels)))
        return _packed(parted)

    def _keep(self, parted: Partition) -> Partition:
        """Keep the initial partition, and the expert that it gives each image."""
        experts = torch.full((len(self.data.images),), -1)
        experts[torch.from_numpy(parted.indices)] = torch.from_numpy(parted.experts)
        self.partition, self._expert_of_image = parted, experts.to(self.data.images.device)
        return parted


def _packed(parted: Partition) -> dict[str, Tensor]:
    """Return a partition as tensors."""
    return {name: torch.from_numpy(part) for name, part in vars(parted).items()}


def _unpacked(parts: dict[str, Tensor]) -> Partition:
    return Partition(**{name: part.numpy() for name, part in parts.items()})


def _turn(index: int, period: int) -> list[str]:
    """Return whose turn it is in batch ``index``: all, or gate and experts by turns of ``period``."""
    if period == 0:
        return ["gate", "experts"]
    return ["gate"] if index // period % 2 == 0 else ["experts"]


def _optimizer(parameters: list[nn.Parameter], optimisation: Optimisation) -> Optimizer:
    if optimisation.optimizer == "adam":
        return Adam(parameters, optimisation.learning_rate)
    return SGD(parameters, optimisation.learning_rate, momentum=optimisation.momentum)
