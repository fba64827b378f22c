"""The method ``embedding_clustnet``: gate and experts that read the embeddings of a frozen encoder.

What is trained is small: a gate of two layers and one linear layer per expert. The gate imitates an initial partition,
as in ``clustnet``, and is then trained with the experts; the mutual information of two views, which are embedded
random crops, may be added. The imitation never ends: embeddings of a good encoder show the subtypes better than the
coarse labels can, and a partition that a person has corrected is to be kept.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import nll_loss
from torch.optim import Adam

from clustnet.errors import UserError
from training.data.data import CoarseData
from training.data.partition_file import NONE, read_partition, training_files
from training.engine.collectives import average_gradients, gathered, share
from training.engine.processes import check_batch_size, on_first, print_once, stop_if_requested
from training.engine.progress import progress
from training.engine.seeding import DrawingFrom, epoch_generators, generator_of
from training.losses.mutual_information import group_mutual_information
from training.methods.clustnet.candidates import candidates
from training.methods.clustnet.objective import check_finite, coarse_loss
from training.methods.clustnet.pairing import paired_clusters
from training.methods.clustnet.partition import LEAST_IMAGES
from training.methods.embedding_clustnet.config import EmbeddingClustNetRecipe
from training.methods.method import EpochLosses, Progress, State
from training.models.build import build_network
from training.models.embedding_mixture import CHUNK, components_of, fit_projection, unit
from training.models.mixture import MixtureOutput
from training.models.spec import EmbeddingMixtureSpec


class EmbeddingClustNetMethod:
    """A mixture of experts on embeddings, in training.

    Args:
        data: embeddings of the images and of random views, and coarse labels.
        recipe: the hyper-parameters.
        accelerator: places the model and runs the backward pass; each process takes its share of every batch.
        clusters: int64 [N], the cluster of each image within its coarse label, if found before; by default they are
            read from the recipe's file, or found.

    Raises:
        UserError: the processes cannot share a batch evenly.
    """

    def __init__(
        self,
        data: CoarseData,
        recipe: EmbeddingClustNetRecipe,
        accelerator: Accelerator,
        clusters: NDArray[np.int64] | None = None,
    ) -> None:
        check_batch_size(recipe.optimisation.batch_size)
        self.recipe, self.accelerator, self.clusters = recipe, accelerator, clusters
        self.data = data.to(accelerator.device)
        self.spec = EmbeddingMixtureSpec(
            features=data.images.shape[1],
            components=min(recipe.model.components, *data.images.shape),
            coarse_labels=data.labels,
            model=recipe.model,
            sha256=data.encoder_sha256,
        )
        # A generator of its own, as torch's is shared with other threads and with the caller; each epoch has another.
        self._generator = generator_of(recipe.seed)
        with DrawingFrom(self._generator):
            self.model = build_network(self.spec)
        fit_projection(self.model.normalise, data.images)
        self.model.to(accelerator.device)
        self.optimizer = Adam(self.model.parameters(), recipe.optimisation.learning_rate)
        # int64 [N], the expert of each image; -1 outside the partition. It is made when it is first needed.
        self.experts: Tensor | None = None

    @property
    def epochs(self) -> int:
        """The number of epochs, including those of the partition."""
        return self.recipe.partition.epochs + self.recipe.optimisation.epochs

    def run(self, start: int, progress: Progress) -> Iterator[EpochLosses]:
        """Train from epoch ``start + 1`` to the last and yield each epoch's mean losses."""
        for epoch in range(start + 1, self.epochs + 1):
            yield self._epoch(epoch, progress)

    def state(self) -> State:
        """Return everything that training goes on from; ``model`` is what is scored and exported."""
        state: State = {
            "network": self.spec.model_dump(mode="json"),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        return state if self.experts is None else state | {"experts": self.experts}

    def restore(self, state: State) -> None:
        """Go on from what ``state`` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.experts = state["experts"].to(self.accelerator.device)

    def _epoch(self, epoch: int, progress: Progress) -> EpochLosses:
        """Run one epoch whose random numbers depend on the seed and the epoch alone."""
        imitates = epoch <= self.recipe.partition.epochs
        weight = 0.0 if imitates else self.recipe.loss.mutual_information
        images, size = np.arange(len(self.data.images)), self.recipe.optimisation.batch_size
        if imitates:
            if self.experts is None:
                self.experts = on_first(self._partition).to(self.accelerator.device)
            images = (self.experts != NONE).nonzero().squeeze(1).cpu().numpy()
        images = np.resize(images, max(len(self.data.images), self.recipe.optimisation.epoch_steps * size))
        order, self._generator = epoch_generators(self.recipe.seed, epoch)
        batches = self.data.batches(size, order, images)
        self.model.train()
        total, seen = torch.zeros((), device=self.accelerator.device), 0
        for index, chosen in enumerate(progress(batches, len(batches))):
            stop_if_requested()
            self._schedule(epoch - 1 + index / len(batches))
            loss = self._batch_loss(chosen, weight)
            total += self._step(loss) * len(chosen)
            seen += len(chosen)
        return EpochLosses(epoch, "imitate" if imitates else "train", float(total) / seen)

    def _batch_loss(self, chosen: Tensor, weight: float) -> Tensor:
        """Return the loss of a batch; ``weight`` is that of the mutual information of two views, 0 for none."""
        coarse, count = self.data.coarse[chosen], 2 if weight else 1
        output = self._output([self._view(chosen) for _ in range(count)], len(chosen))
        loss = self._loss(output, coarse.repeat(count)) + self._imitation(output, chosen.repeat(count))
        if weight:
            first, second = output.log_routing.exp().chunk(2)
            loss = loss - weight * group_mutual_information(first, second, coarse)
        return loss

    def _imitation(self, output: MixtureOutput, chosen: Tensor) -> Tensor:
        """Return the mean cross-entropy of routing and partition, in nats; images outside the partition count as 0."""
        assert self.experts is not None  # noqa: S101 - the first epoch made it
        experts = self.experts[chosen]
        return nll_loss(output.log_routing, experts, ignore_index=NONE, reduction="sum") / len(experts)

    def _view(self, chosen: Tensor) -> Tensor:
        """Return this process's share of the chosen images, each itself or one of its views at random."""
        images = self.data.images[share(chosen)]
        if self.data.views is None:
            return images
        number = torch.randint(self.data.views.shape[1] + 1, (len(chosen),), generator=self._generator).to(
            images.device
        )
        number = share(number)
        views = self.data.views[share(chosen), (number - 1).clamp(min=0)]
        return torch.where((number == 0)[:, None], images, views)

    def _output(self, views: list[Tensor], images: int) -> MixtureOutput:
        """Route the views of a batch of ``images`` images, of which each process has its share.

        Raises:
            DivergedError: the weights have diverged.
        """
        parts = self.model(torch.cat(views))
        return check_finite(MixtureOutput(*(gathered(part, images, len(views)) for part in parts)))

    def _loss(self, output: MixtureOutput, coarse: Tensor) -> Tensor:
        """Return the loss of N outputs, whose coarse labels are int64 [N], without the mutual information."""
        return coarse_loss(output, coarse, self.recipe.loss, self.recipe.hard, self._generator)

    def _step(self, loss: Tensor) -> Tensor:
        """Take a step on a loss and return the loss."""
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        average_gradients(part for group in self.optimizer.param_groups for part in group["params"])
        self.optimizer.step()
        return loss.detach()

    def _schedule(self, position: float) -> None:
        """Set the step size at a position, counted in epochs from the start."""
        if self.recipe.optimisation.schedule == "constant":
            return
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.optimisation.learning_rate * (1 + math.cos(math.pi * position / self.epochs)) / 2

    def _partition(self) -> Tensor:
        """Return the expert that should see each image, int64 [N], -1 for images outside the partition."""
        clusters = self.clusters
        if clusters is None:
            clusters = self._clusters_of_file() if self.recipe.partition.file else self._clusters_found()
        recipe, rows = self.recipe, self._rows()
        coarse, sizes = self.data.coarse.cpu().numpy(), (self.data.label_count, recipe.model.experts)
        members, found = paired_clusters(rows.__getitem__, clusters, coarse, *sizes, recipe.seed)
        experts = torch.full((len(clusters),), NONE)
        experts[torch.from_numpy(members)] = torch.from_numpy(found)
        return experts

    def _clusters_of_file(self) -> NDArray[np.int64]:
        """Return the cluster that the recipe's file gives each image."""
        recipe = self.recipe
        assert recipe.partition.file is not None  # noqa: S101 - the caller looked
        assert recipe.data.path is not None  # noqa: S101 - the images were read from it
        return read_partition(recipe.partition.file, training_files(recipe.data.path)[: len(self.data.images)])

    def _clusters_found(self) -> NDArray[np.int64]:
        """Return the cluster of each image of a sample, by the clustering that agrees best with the others."""
        recipe, labels = self.recipe, self.data.labels
        generator = np.random.default_rng(recipe.seed)
        coarse = self.data.coarse.cpu().numpy()
        clusters = np.full(len(coarse), NONE)
        counts = recipe.clusters(labels)
        for label, count in enumerate(progress(counts, len(counts), "partition", "label")):
            members = np.flatnonzero(coarse == label)
            sample = np.sort(generator.permutation(members)[: recipe.partition.images])
            if len(sample) < LEAST_IMAGES * count:
                raise UserError(
                    f"The coarse label {labels[label]!r} has {len(sample)} training images for the initial partition, "
                    f"too few for {count} clusters; give it at least {LEAST_IMAGES * count}, or lower "
                    "partition.clusters."
                )
            embeddings = unit(self.data.images[torch.from_numpy(sample)]).cpu().numpy()
            best = candidates({recipe.model.encoder: embeddings}, {recipe.model.encoder: 1.0}, count, recipe.seed)
            print_once(f"partition of {labels[label]}: {best[0].name} {best[0].agreement:.3f}")
            clusters[sample] = best[0].clusters
        return clusters

    @torch.no_grad()
    def _rows(self) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Return what gate and experts see of each image, float32 [N, P]."""
        parts = [components_of(self.model.normalise(part)).cpu() for part in torch.split(self.data.images, CHUNK)]
        rows: np.ndarray[tuple[int, int], np.dtype[np.float32]] = torch.cat(parts).numpy()
        return rows


METHOD = EmbeddingClustNetMethod
