"""The method ``deepcluster``: in turn, features are clustered and the clusters are learnt as labels.

Caron, Bojanowski, Joulin, Douze, "Deep Clustering for Unsupervised Learning of Visual Features" (DeepCluster), ECCV
2018, arXiv:1807.05520; version 2 is DeepCluster-v2 of Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, "Unsupervised
Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020, arXiv:2006.09882, appendix. Clusters are
found within each coarse label.

=============  ==========================================  ======================================================
what           version 1                                   version 2
=============  ==========================================  ======================================================
is clustered   the features of all images, whitened        the projections that the last epoch saw: a memory bank
is trained on  equally many images per cluster, one view   each image once, in several views
learns them    a classifier, new at every assignment       nothing: the centroids are the classifier
=============  ==========================================  ======================================================
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, normalize
from torch.optim import SGD

from clustnet.errors import UserError
from training.data.augmentation import random_view, viewed
from training.data.data import CoarseData
from training.engine.collectives import average_gradients, gathered, in_shares, share
from training.engine.processes import check_batch_size, on_first, print_once, stop_if_requested
from training.engine.seeding import DrawingFrom, epoch_generators, generator_of
from training.methods.deepcluster.assignment import Assigned, assign, figures, whitened
from training.methods.deepcluster.config import DeepClusterRecipe
from training.methods.deepcluster.sampling import balanced_epoch
from training.methods.method import DivergedError, EpochLosses, Progress, State
from training.models.build import build_network
from training.models.convnet_clusters import Centroids, Classifier
from training.models.inference import BATCH, evaluating
from training.models.spec import ConvNetClustersSpec
from training.recipe.recipe import SEEDS

STAGE = "train"


class DeepClusterMethod:
    """A network and the clusters of its features, in training.

    Args:
        data: images and coarse labels.
        recipe: the hyper-parameters.
        accelerator: places the model and runs the backward pass; each process takes its share of every batch.

    Raises:
        UserError: the processes cannot share a batch evenly, or a coarse label has fewer images than clusters.
    """

    def __init__(self, data: CoarseData, recipe: DeepClusterRecipe, accelerator: Accelerator) -> None:
        check_batch_size(recipe.optimisation.batch_size)
        self.recipe, self.accelerator = recipe, accelerator
        self.data = data.to(accelerator.device)
        self.spec = ConvNetClustersSpec(
            image_shape=tuple(data.images.shape[1:]),
            mean=data.mean,
            std=data.std,
            coarse_labels=data.labels,
            model=recipe.model,
            clusters=recipe.clusters(data.labels, data.sizes),
        )
        _check_images(data, self.spec.clusters)
        # A generator of its own, as torch's is shared with other threads and with the caller.
        with DrawingFrom(generator_of(recipe.seed)):
            self.model = build_network(self.spec).to(accelerator.device)
        self.optimizers = {"encoder": self._optimizer(self.model.encoder), "head": self._optimizer(self.model.head)}
        side = min(data.images.shape[1:3])
        self.sizes = recipe.views.sizes or (side,) * recipe.model.version
        # int64 [N], the clusters that are learnt now; None before the first assignment.
        self.assigned: Tensor | None = None
        self.figures: dict[str, float] = {}
        # float32 [N, P], for version 2: the mean projection of each image's views, of length 1.
        self.bank: Tensor | None = None
        # A new one in each epoch.
        self._generator: torch.Generator

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return self.recipe.optimisation.epochs

    def run(self, start: int, progress: Progress) -> Iterator[EpochLosses]:
        """Train from epoch ``start + 1`` to the last, and yield the mean loss of those that are to be scored."""
        for epoch in range(start + 1, self.epochs + 1):
            if self.assigned is None or (epoch - 1) % self.recipe.assignment.every == 0:
                self._assign(epoch)
            loss = self._epoch(epoch, progress)
            if epoch % self.recipe.optimisation.score_every == 0 or epoch == self.epochs:
                yield EpochLosses(epoch, STAGE, loss, self.figures)

    def state(self) -> State:
        """Return everything that training goes on from; ``model`` is what is scored and exported."""
        state: State = {"network": self.spec.model_dump(mode="json"), "figures": self.figures}
        state |= {name: part.state_dict() for name, part in self._parts().items()}
        return state | {name: getattr(self, name) for name in ("assigned", "bank")}

    def restore(self, state: State) -> None:
        """Go on from what ``state`` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.figures = state["figures"]
        for name in ("assigned", "bank"):
            kept = state[name]
            setattr(self, name, None if kept is None else kept.to(self.accelerator.device))

    def _parts(self) -> dict[str, Any]:
        """Return all that has a state, by its name in a checkpoint."""
        return {"model": self.model, **self.optimizers}

    def _optimizer(self, part: torch.nn.Module) -> SGD:
        """Return an optimizer of a part of the model; the step size is set before each step."""
        how = self.recipe.optimisation
        return SGD(
            part.parameters(), how.learning_rate, how.momentum, weight_decay=how.weight_decay, nesterov=how.momentum > 0
        )

    # Clusters

    def _assign(self, epoch: int) -> None:
        """Cluster all images, make the clusters the labels to learn, and record what has changed."""
        seed = (self.recipe.seed + epoch) % SEEDS
        rows = (self._projections() if isinstance(self.model.head, Centroids) else self._features()).cpu().numpy()
        coarse, before = self.data.coarse.cpu().numpy(), self.assigned

        def of_label(members: NDArray[np.bool_]) -> NDArray[np.float32]:
            how = self.recipe.assignment
            return rows[members] if self.recipe.model.version == 2 else whitened(rows[members], how.components, seed)

        def found() -> dict[str, Any]:
            made = assign(of_label, coarse, self.spec.clusters, self.recipe.assignment, seed)
            return {"clusters": torch.from_numpy(made.clusters), "split": made.split}

        made = on_first(found)
        now = Assigned(made["clusters"].numpy(), made["split"])
        if now.split:
            print_once(f"{now.split} empty clusters got half of the largest one each")
        self.figures = figures(None if before is None else before.cpu().numpy(), now, sum(self.spec.clusters))
        self.assigned = made["clusters"].to(self.accelerator.device)
        self._set_head(torch.from_numpy(rows), seed)

    @torch.no_grad()
    def _set_head(self, rows: Tensor, seed: int) -> None:
        """Make the head tell the new clusters apart: by their centroids, or by a newly initialised classifier."""
        head = self.model.head
        if isinstance(head, Classifier):
            with DrawingFrom(generator_of(seed)):
                head.linear.reset_parameters()
            self.optimizers["head"] = self._optimizer(head)
            return
        assert self.assigned is not None  # noqa: S101 - by the caller
        sums = torch.zeros_like(head.centroids).index_add_(0, self.assigned, rows.to(head.centroids.device))
        head.centroids.copy_(normalize(sums, dim=1))

    def _features(self) -> Tensor:
        """Return the features of all images, without augmentation, float32 [N, D]."""
        with evaluating(self.model):
            parts = torch.split(self.data.images, BATCH)
            return in_shares(lambda part: self.model.encoder(self.model.normalise(part)), parts)

    @torch.no_grad()
    def _projections(self) -> Tensor:
        """Return the memory bank, float32 [N, P]; before the first epoch, the untrained network fills it."""
        if self.bank is not None:
            return self.bank
        self._generator = epoch_generators(self.recipe.seed, 0)[1]
        self.model.train()
        batches = torch.split(torch.arange(len(self.data.images), device=self.data.images.device), BATCH)
        self.bank = torch.cat([self._outputs(chosen, self.sizes[:1]) for chosen in batches])
        return self.bank

    # Training

    def _epoch(self, epoch: int, progress: Progress) -> float:
        """Run one epoch, whose random numbers depend on the seed and the epoch alone, and return its mean loss."""
        assert self.assigned is not None  # noqa: S101 - by the caller
        order, self._generator = epoch_generators(self.recipe.seed, epoch)
        images = None
        if self.recipe.model.version == 1:
            images = balanced_epoch(self.assigned.cpu(), order).numpy()
        batches = self.data.batches(self.recipe.optimisation.batch_size, order, images)
        self.model.train()
        total, seen = torch.zeros((), device=self.accelerator.device), 0
        for index, chosen in enumerate(progress(batches, len(batches))):
            stop_if_requested()
            self._schedule((epoch - 1) * len(batches) + index, self.epochs * len(batches))
            total += self._step(chosen) * len(chosen)
            seen += len(chosen)
        return float(total) / seen

    def _step(self, chosen: Tensor) -> Tensor:
        """Take a step on one batch and return the loss: the cross-entropy of its views with the images' clusters.

        Raises:
            DivergedError: the weights have diverged.
        """
        assert self.assigned is not None  # noqa: S101 - by the caller
        outputs, head = self._outputs(chosen, self.sizes), self.model.head
        logits = head.logits(outputs) if isinstance(head, Centroids) else outputs
        loss = cross_entropy(logits, self.assigned[chosen].repeat(len(self.sizes)))
        if not loss.isfinite():
            raise DivergedError("The training diverged: the loss overflows; lower optimisation.learning_rate.")
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        self.accelerator.backward(loss)
        average_gradients(self.model.parameters())
        for optimizer in self.optimizers.values():
            optimizer.step()
        if self.bank is not None:
            remembered = self.sizes.count(self.sizes[0])
            views = outputs[: remembered * len(chosen)].detach().view(remembered, len(chosen), -1)
            self.bank[chosen] = normalize(views.mean(dim=0), dim=1)
        return loss.detach()

    def _outputs(self, chosen: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Return what the head makes of random views of images: logits, or in version 2 projections of length 1.

        Args:
            chosen: int64 [N], the images.
            sizes: sizes of the views in pixels.

        Returns:
            float32 [V * N, E or P], the N images view by view; views of the first size come first.
        """
        found, head = [], self.model.head
        for size in dict.fromkeys(sizes):
            count, low = sizes.count(size), self.recipe.optimisation.precision == "bfloat16"
            pixels = torch.cat([self._view(chosen, size) for _ in range(count)])
            with torch.autocast(pixels.device.type, torch.bfloat16, enabled=low):
                features = self.model.encoder(pixels)
                rows = head.project(features) if isinstance(head, Centroids) else head(features)
            found.append(gathered(rows.float(), len(chosen), count))
        return torch.cat(found)

    def _view(self, chosen: Tensor, size: int) -> Tensor:
        """Return this process's share of the chosen images in random views, normalised, float32 [S, C, size, size].

        Random numbers are drawn for all of them, so that a view does not depend on the number of processes.
        """
        view = random_view(len(chosen), self.recipe.augmentation, self._generator)
        pixels = viewed(self.model.normalise, self.data.images[share(chosen)], view.map(share))
        if pixels.shape[2:] == (size, size):
            return pixels
        return interpolate(pixels, (size, size), mode="bilinear", antialias=True, align_corners=False)

    def _schedule(self, step: int, steps: int) -> None:
        """Set the step size of one of ``steps`` steps."""
        how = self.recipe.optimisation
        rate = how.learning_rate * min(1.0, (step + 1) / (how.warm_up + 1))
        if how.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * step / steps)) / 2
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = rate


def _check_images(data: CoarseData, clusters: tuple[int, ...]) -> None:
    """Refuse a coarse label that has fewer images than clusters."""
    for label, images, count in zip(data.labels, data.sizes, clusters, strict=True):
        if images < count:
            raise UserError(
                f"There are {images} training images of {label!r} for {count} clusters; give more images, or lower "
                "model.experts."
            )


METHOD = DeepClusterMethod
