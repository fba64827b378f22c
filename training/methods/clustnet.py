"""The method ``clustnet``: a gate and its experts, trained on coarse labels alone.

After Tristan Gomez, "ClustNet", 2018: soft or hard routing, joint or alternating optimisation, optional
terms on the routing, optional autoencoder pre-training of the gate's encoder.
"""

from collections.abc import Callable, Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam, Optimizer

from clustnet.errors import UserError
from training.data import CoarseData
from training.losses.mixture_likelihood import hard_mixture_nll, soft_mixture_nll
from training.losses.routing_terms import routing_diversity, routing_entropy
from training.methods.method import EpochLosses, Progress, State
from training.models.encoder import Decoder
from training.models.mixture import MixtureOfExperts, MixtureOutput, straight_through
from training.recipe import Optimisation, Recipe
from training.seeding import epoch_generator, seed_everything


class ClustNet:
    """A mixture of experts in training.

    Args:
        data: images and coarse labels.
        recipe: the hyper-parameters.
        accelerator: places the model and steps backwards.
    """

    def __init__(self, data: CoarseData, recipe: Recipe, accelerator: Accelerator) -> None:
        self.recipe, self.accelerator = recipe, accelerator
        self.data = data.to(accelerator.device)
        seed_everything(recipe.seed)
        model = MixtureOfExperts(recipe.model, data.images.shape[1:], data.mean, data.std)
        decoder = Decoder(model.pixel_shape, recipe.model.channels, recipe.model.embedding)
        self.model: MixtureOfExperts = accelerator.prepare_model(model)
        self.decoder: Decoder = accelerator.prepare_model(decoder)
        self.optimizers: dict[str, Optimizer] = {
            "gate": _optimizer(list(self.model.gate_parameters()), recipe.optimisation),
            "experts": _optimizer(list(self.model.experts.parameters()), recipe.optimisation),
            "autoencoder": Adam(
                [*self.model.encoder.parameters(), *self.decoder.parameters()],
                recipe.pretraining.learning_rate,
            ),
        }

    @property
    def epochs(self) -> int:
        """All epochs of the method, those of pre-training first."""
        return self.recipe.pretraining.epochs + self.recipe.optimisation.epochs

    def run(self, start: int, progress: Progress) -> Iterator[EpochLosses]:
        """Train from epoch ``start + 1`` to the last and yield each epoch's mean losses."""
        for epoch in range(start + 1, self.epochs + 1):
            if epoch <= self.recipe.pretraining.epochs:
                yield self._epoch(epoch, "pretrain", self._reconstruct, progress)
            else:
                yield self._epoch(epoch, "train", self._route, progress)

    def state(self) -> State:
        """Return everything that training goes on from."""
        modules: dict[str, nn.Module | Optimizer] = {"model": self.model, "decoder": self.decoder}
        return {name: part.state_dict() for name, part in (modules | self.optimizers).items()}

    def restore(self, state: State) -> None:
        """Go on from what ``state`` returned."""
        modules: dict[str, nn.Module | Optimizer] = {"model": self.model, "decoder": self.decoder}
        for name, part in (modules | self.optimizers).items():
            part.load_state_dict(state[name])

    def _epoch(
        self, epoch: int, stage: str, step: Callable[[int, Tensor, Tensor], Tensor], progress: Progress
    ) -> EpochLosses:
        """Run one epoch whose random numbers depend on the seed and the epoch alone."""
        generator = epoch_generator(self.recipe.seed, epoch)
        size = self.recipe.optimisation.batch_size
        self.model.train()
        total = torch.zeros((), device=self.accelerator.device)
        batches = self.data.batches(size, generator)
        for index, (images, targets) in enumerate(progress(batches, -(-len(self.data.images) // size))):
            total += step(index, images, targets) * len(images)
        return EpochLosses(epoch, stage, float(total) / len(self.data.images))

    def _reconstruct(self, _: int, images: Tensor, __: Tensor) -> Tensor:
        """Step the autoencoder on one batch and return its mean squared error."""
        pixels = self.model.normalise(images)
        loss = mse_loss(self.decoder(self.model.encoder(pixels)), pixels)
        self._step(loss, ["autoencoder"])
        return loss.detach()

    def _route(self, index: int, images: Tensor, targets: Tensor) -> Tensor:
        """Step the gate, the experts or both on one batch and return the loss.

        Raises:
            UserError: the weights have diverged.
        """
        output = self.model(images)
        if not (output.log_routing.sum() + output.expert_logit.sum()).isfinite():
            raise UserError("The training diverged: the model's outputs overflow; lower optimisation.learning_rate.")
        loss = self._loss(output, targets)
        self._step(loss, _turn(index, self.recipe.optimisation.batch_period))
        return loss.detach()

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
            self.optimizers[name].step()


def _turn(index: int, period: int) -> list[str]:
    """Return whose turn it is in batch ``index``: all, or gate and experts by turns of ``period``."""
    if period == 0:
        return ["gate", "experts"]
    return ["gate"] if index // period % 2 == 0 else ["experts"]


def _optimizer(parameters: list[nn.Parameter], optimisation: Optimisation) -> Optimizer:
    if optimisation.optimizer == "adam":
        return Adam(parameters, optimisation.learning_rate)
    return SGD(parameters, optimisation.learning_rate, momentum=optimisation.momentum)
