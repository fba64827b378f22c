"""The method ``clustnet``: a gate and its experts, trained on coarse labels alone.

After Tristan Gomez, "ClustNet", 2018: soft or hard routing, joint or alternating optimisation, optional
terms on the routing, optional autoencoder pre-training of the gate's encoder. What makes it discover subtypes
is added to it: an initial partition that the gate imitates, and the mutual information of two views.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss, nll_loss
from torch.optim import SGD, Adam, Optimizer

from clustnet.scores.scores import count_table
from training.data.augmentation import random_view, viewed
from training.data.data import CoarseData
from training.engine.collectives import average_gradients, gathered, share
from training.engine.processes import check_batch_size, on_first, print_once, stop_if_requested
from training.engine.seeding import DrawingFrom, epoch_generators, generator_of
from training.losses.mutual_information import group_mutual_information
from training.methods.clustnet.config import ClustNetRecipe, MixtureOptimisation
from training.methods.clustnet.objective import check_finite, coarse_loss
from training.methods.clustnet.partition import Partition, partition
from training.methods.method import EpochLosses, Progress, State
from training.models.build import build_network
from training.models.encoder import Decoder
from training.models.mixture import MixtureOutput
from training.models.spec import MixtureSpec


class Stage(NamedTuple):
    """A stretch of epochs that take the same step on each batch of the same images.

    Args:
        name: its name in the scores.
        epochs: how many.
        step: takes the batch's number and its images' indices, and returns the loss.
    """

    name: str
    epochs: int
    step: Callable[[int, Tensor], Tensor]


class ClustNetMethod:
    """A mixture of experts in training.

    Args:
        data: images and coarse labels.
        recipe: the hyper-parameters.
        accelerator: places the model and steps backwards; of several processes each takes its share of every batch.

    Raises:
        UserError: the processes cannot share a batch evenly, or the images are too small for the encoder.
    """

    def __init__(self, data: CoarseData, recipe: ClustNetRecipe, accelerator: Accelerator) -> None:
        check_batch_size(recipe.optimisation.batch_size)
        self.recipe, self.accelerator = recipe, accelerator
        self.data = data.to(accelerator.device)
        self.spec = MixtureSpec(
            image_shape=tuple(data.images.shape[1:]),
            mean=data.mean,
            std=data.std,
            coarse_labels=data.labels,
            model=recipe.model,
        )
        # A generator of its own, as torch's is shared with other threads and with the caller; each epoch has another.
        self._generator = generator_of(recipe.seed)
        with DrawingFrom(self._generator):
            self.network = build_network(self.spec).to(accelerator.device)
            self.decoder = self._decoder()
        self.model = copy.deepcopy(self.network) if recipe.optimisation.average_over else self.network
        self._decay = _decay(recipe.optimisation, len(data.images))
        self.optimizers: dict[str, Optimizer] = {
            "gate": _optimizer(list(self.network.gate_parameters()), recipe.optimisation)
        }
        # With one coarse label the experts have nothing to learn, and no parameters.
        if experts := list(self.network.experts.parameters()):
            self.optimizers["experts"] = _optimizer(experts, recipe.optimisation)
        self._both = list(self.optimizers)
        if self.decoder is not None:
            parameters = [*self.network.encoder.parameters(), *self.decoder.parameters()]
            self.optimizers["autoencoder"] = Adam(parameters, recipe.pretraining.learning_rate)
        self.partition: Partition | None = None
        # int64 [N], kept with the partition; -1 for images outside it.
        self._expert_of_image: Tensor
        # float32 [K, E], likewise; None where the mutual information takes the shares of experts as even.
        self._shares: Tensor | None = None
        self.stages = [
            Stage("pretrain", recipe.pretraining.epochs, self._reconstruct),
            Stage("imitate", recipe.partition.epochs, self._imitate),
            Stage("train", recipe.optimisation.epochs, self._route),
        ]

    def _decoder(self) -> Decoder | None:
        """Return what the pre-training alone needs, None without pre-training."""
        if not self.recipe.pretraining.epochs:
            return None
        model = self.recipe.model
        return Decoder(self.network.pixel_shape, model.channels, model.embedding).to(self.accelerator.device)

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
        state: State = {"network": self.spec.model_dump(mode="json")}
        state |= {name: part.state_dict() for name, part in self._parts().items()}
        if self.partition is not None:
            state["partition"] = _tensors(self.partition)
        return state

    def restore(self, state: State) -> None:
        """Go on from what ``state`` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        if "partition" in state:
            self._keep(state["partition"])

    def _parts(self) -> dict[str, nn.Module | Optimizer]:
        """Return all that has a state, by its name in a checkpoint."""
        parts: dict[str, nn.Module | Optimizer] = {"model": self.model}
        if self.model is not self.network:
            parts["trained"] = self.network
        if self.decoder is not None:
            parts["decoder"] = self.decoder
        return parts | self.optimizers

    def _epoch(self, epoch: int, stage: Stage, progress: Progress) -> EpochLosses:
        """Run one epoch whose random numbers depend on the seed and the epoch alone."""
        images = np.arange(len(self.data.images))
        if stage.step == self._imitate:
            images = np.resize(self._initial_partition().indices, len(images))
        order, self._generator = epoch_generators(self.recipe.seed, epoch)
        batches = self._batches(images, order)
        self.network.train()
        total, seen = torch.zeros((), device=self.accelerator.device), 0
        for index, chosen in enumerate(progress(batches, len(batches))):
            stop_if_requested()
            self._schedule(epoch - 1 + index / len(batches))
            total += stage.step(index, chosen) * len(chosen)
            seen += len(chosen)
        return EpochLosses(epoch, stage.name, float(total) / seen)

    def _batches(self, images: NDArray[np.int64], generator: torch.Generator) -> list[Tensor]:
        """Return the batches of an epoch: each image once, and again where that would be too few steps."""
        optimisation = self.recipe.optimisation
        batches = list(self.data.batches(optimisation.batch_size, generator, images))
        steps = max(len(batches), optimisation.epoch_steps)
        while len(batches) < steps:
            batches += self.data.batches(optimisation.batch_size, generator, images)
        return batches[:steps]

    def _reconstruct(self, _: int, chosen: Tensor) -> Tensor:
        """Step the autoencoder on one batch and return its mean squared error."""
        assert self.decoder is not None  # noqa: S101 - the stage has epochs only where there is one
        pixels = self.network.normalise(self.data.images[chosen])
        decoded = self.decoder(self.network.encoder(share(pixels)))
        loss = mse_loss(gathered(decoded, len(chosen)), pixels)
        self._step(loss, ["autoencoder"])
        self._average(0.0)
        return loss.detach()

    def _imitate(self, _: int, chosen: Tensor) -> Tensor:
        """Step gate and experts towards the initial partition on one batch and return the loss.

        The partition alone teaches the gate. The coarse likelihood of experts that have learnt nothing yet would draw
        small clusters into large ones.
        """
        output = self._output([self._view(chosen)], len(chosen))
        routed = output._replace(log_routing=output.log_routing.detach())
        imitation = nll_loss(output.log_routing, self._expert_of_image[chosen])
        loss = imitation + self._loss(routed, self.data.coarse[chosen])
        self._step(loss, self._both)
        self._average(0.0)
        return loss.detach()

    def _route(self, index: int, chosen: Tensor) -> Tensor:
        """Step the gate, the experts or both on one batch and return the loss."""
        coarse, weight = self.data.coarse[chosen], self.recipe.loss.mutual_information
        views = [self._view(chosen) for _ in range(2 if weight else 1)]
        output = self._output(views, len(chosen))
        loss = self._loss(output, coarse.repeat(len(views)))
        if weight:
            first, second = output.log_routing.exp().chunk(2)
            loss = loss - weight * group_mutual_information(first, second, coarse, self._shares)
        self._step(loss, self._turn(index))
        self._average(self._decay)
        return loss.detach()

    def _view(self, chosen: Tensor) -> Tensor:
        """Return this process's share of the chosen images in random views, normalised.

        Random numbers are drawn for all of them, so that a view does not depend on the number of processes.
        """
        view = random_view(len(chosen), self.recipe.augmentation, self._generator)
        return viewed(self.network.normalise, self.data.images[share(chosen)], view.map(share))

    def _output(self, views: list[Tensor], images: int) -> MixtureOutput:
        """Route the views of a batch of so many images, of which each process has its share, in the recipe's precision.

        Raises:
            DivergedError: the weights have diverged.
        """
        pixels, low = torch.cat(views), self.recipe.optimisation.precision == "bfloat16"
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=low):
            parts = self.network.route(pixels)
        return check_finite(MixtureOutput(*(gathered(part.float(), images, len(views)) for part in parts)))

    def _loss(self, output: MixtureOutput, coarse: Tensor) -> Tensor:
        """Return the loss of outputs whose images have the coarse labels int64 [N], but for the mutual information."""
        return coarse_loss(output, coarse, self.recipe.loss, self.recipe.hard, self._generator)

    def _step(self, loss: Tensor, names: list[str]) -> None:
        """Step the named optimizers down the gradient of a loss."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        self.accelerator.backward(loss)
        for name in names:
            average_gradients(part for group in self.optimizers[name].param_groups for part in group["params"])
            self.optimizers[name].step()

    def _turn(self, index: int) -> list[str]:
        """Return what is stepped in batch ``index``: gate and experts, or one of them in turn."""
        period = self.recipe.optimisation.batch_period
        if period == 0 or len(self._both) == 1:
            return self._both
        return ["gate"] if index // period % 2 == 0 else ["experts"]

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
        for name in self._both:
            for group in self.optimizers[name].param_groups:
                group["lr"] = self.recipe.optimisation.learning_rate * (1 + math.cos(math.pi * done)) / 2

    def _initial_partition(self) -> Partition:
        """Return the initial partition, made when it is first needed."""
        return self.partition or self._keep(on_first(self._make_partition))

    def _make_partition(self) -> dict[str, Tensor]:
        """Make the initial partition and print how it was chosen."""
        recipe, labels = self.recipe, self.data.labels
        clusters = recipe.clusters(labels, self.data.sizes)
        how = recipe.partition
        made, trial = partition(self.data, clusters, how.images, recipe.seed, how.representations)
        print_once("\n".join(trial.lines(labels)))
        return _tensors(made)

    def _keep(self, tensors: dict[str, Tensor]) -> Partition:
        """Keep the initial partition, and the expert that it gives each image."""
        experts = torch.full((len(self.data.images),), -1)
        experts[tensors["indices"]] = tensors["experts"]
        self._expert_of_image = experts.to(self.data.images.device)
        self.partition = Partition(**{name: part.numpy() for name, part in tensors.items()})
        if self.recipe.loss.shares == "partition":
            self._shares = self._shares_of(self.partition).to(self.data.images.device)
        return self.partition

    def _shares_of(self, made: Partition) -> Tensor:
        """Return each expert's share of the images of each coarse label, float32 [K, E], none of them 0."""
        coarse = self.data.coarse.cpu().numpy()[made.indices]
        counts = count_table((coarse, made.experts), (self.data.label_count, self.recipe.model.experts)) + 1
        return torch.from_numpy(counts / counts.sum(axis=1, keepdims=True)).float()


def _tensors(made: Partition) -> dict[str, Tensor]:
    """Return a partition in the form of a checkpoint."""
    return {name: torch.from_numpy(part) for name, part in vars(made).items()}


def _decay(optimisation: MixtureOptimisation, images: int) -> float:
    """Return the decay of a moving average that spans the recipe's share of the steps of gate and experts."""
    steps = optimisation.epochs * max(math.ceil(images / optimisation.batch_size), optimisation.epoch_steps)
    return 1 - 1 / max(1.0, optimisation.average_over * steps)


def _optimizer(parameters: list[nn.Parameter], optimisation: MixtureOptimisation) -> Optimizer:
    """Return the optimizer that a recipe names."""
    if optimisation.optimizer == "adam":
        return Adam(parameters, optimisation.learning_rate)
    return SGD(parameters, optimisation.learning_rate, momentum=optimisation.momentum)


METHOD = ClustNetMethod
