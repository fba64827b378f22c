"""The method ``deep_clustering``: an autoencoder's embedding, in which clusters are found and then sharpened.

Aljalbout, Golkov, Siddiqui, Cremers, "Clustering with Deep Learning: Taxonomy and New Methods", arXiv:1801.07648.
Clusters are found within each coarse label. Three stages:

1. ``pretrain``: the autoencoder learns to rebuild images; from a random view it rebuilds the view, or the image itself
   (Vincent, Larochelle, Bengio, Manzagol, "Extracting and Composing Robust Features with Denoising Autoencoders", ICML
   2008).
2. Clusters are found in the embedding, see ``training.methods.deep_clustering.cluster_start``.
3. ``cluster``: the embedding is trained towards them, jointly with reconstruction (Guo, Gao, Liu, Yin, "Improved Deep
   Embedded Clustering with Local Structure Preservation" (IDEC), IJCAI 2017): by the Kullback-Leibler divergence (DEC)
   or by the k-means loss (DCN). The target comes from clean images and the gradient from random views (Guo, Zhu, Liu,
   Yin, "Deep Embedded Clustering with Data Augmentation" (DEC-DA), ACML 2018), and is set again every so many steps.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import Adam, Optimizer

from clustnet.errors import UserError
from training.clustering.cluster_count import describe, most_likely, silhouettes
from training.data.augmentation import random_view, viewed
from training.data.data import CoarseData
from training.engine.processes import processes
from training.engine.seeding import DrawingFrom, epoch_generators, generator_of
from training.losses.centroid_distance import centroid_distance
from training.losses.reconstruction import reconstruction_error
from training.losses.student_t import clustering_divergence, soft_assignment, target_distribution
from training.methods.deep_clustering.cluster_start import clustered_space, first_clusters
from training.methods.deep_clustering.config import AUTO, DeepClusteringRecipe
from training.methods.method import DivergedError, EpochLosses, Progress, State
from training.models.autoencoder import Decoder
from training.models.build import build_network
from training.models.deep_clusters import DeepClusters
from training.models.inference import BATCH, evaluating
from training.models.spec import DeepClustersSpec

PRETRAIN, CLUSTER = "pretrain", "cluster"
LEARNING_RATES = {PRETRAIN: "pretraining.learning_rate", CLUSTER: "optimisation.learning_rate"}
# Fewest images for which a number of clusters can be estimated.
MIN_IMAGES = 3
# Keeps the logarithm for the clusters of the other coarse labels finite.
MIN_ASSIGNMENT = 1e-12


class DeepClusteringMethod:
    """Clusters in training.

    Args:
        data: images and coarse labels.
        recipe: the hyper-parameters.
        accelerator: places the model and runs the backward pass.

    Raises:
        UserError: the architecture is for images of another shape, a coarse label has too few images, or there are
            several processes.
    """

    def __init__(self, data: CoarseData, recipe: DeepClusteringRecipe, accelerator: Accelerator) -> None:
        if processes() > 1:
            raise UserError("deep_clustering trains in one process; start it without torchrun or accelerate launch.")
        self.recipe, self.accelerator = recipe, accelerator
        self.data = data.to(accelerator.device)
        self.architecture = recipe.model.architecture
        self.spec = DeepClustersSpec(
            image_shape=tuple(data.images.shape[1:]),
            mean=data.mean,
            std=data.std,
            coarse_labels=data.labels,
            architecture=self.architecture,
            clusters=recipe.clusters(data.labels),
        )
        self._check_images()
        # A generator of its own, as torch's is shared with other threads and with the caller.
        with DrawingFrom(generator_of(recipe.seed)):
            network, decoder = build_network(self.spec), Decoder(self.architecture)
        self.model: DeepClusters = accelerator.prepare_model(network)
        self.decoder: Decoder = accelerator.prepare_model(decoder.to(memory_format=torch.channels_last))
        autoencoder = [*self.model.encoder.parameters(), *self.decoder.parameters()]
        self.optimizers: dict[str, Optimizer] = {
            PRETRAIN: Adam(autoencoder, recipe.pretraining.learning_rate, fused=True),
            CLUSTER: self._cluster_optimizer(),
        }
        self.variance = sum(std**2 for std in data.std) / len(data.std)
        # int64 [N], the clusters at the last refresh.
        self.assigned: Tensor | None = None
        self.settled = False
        # float32 [N, E], kept from one refresh to the next.
        self._target: Tensor

    @property
    def epochs(self) -> int:
        """The number of epochs, unless the clusters settle before."""
        return self.recipe.pretraining.epochs + self.recipe.optimisation.epochs

    def run(self, start: int, progress: Progress) -> Iterator[EpochLosses]:
        """Train from epoch ``start + 1`` to the last or until the clusters settle; yield each epoch's mean loss."""
        before = self.recipe.pretraining.epochs
        if before == 0 and start == 0:
            self._start()
        for epoch in range(start + 1, self.epochs + 1):
            if self.settled:
                return
            losses = self._epoch(epoch, progress)
            if epoch == before:
                self._start()
            yield losses

    def state(self) -> State:
        """Return everything that training goes on from; ``model`` is what is scored and exported."""
        state: State = {"network": self.spec.model_dump(mode="json"), "settled": self.settled}
        state |= {name: part.state_dict() for name, part in self._parts().items()}
        return state if self.assigned is None else state | {"assigned": self.assigned}

    def restore(self, state: State) -> None:
        """Go on from what ``state`` returned, with the recipe's step sizes, as the state may be another run's.

        At the end of the pre-training the optimizers may be missing: one has done its work, and the other has no state.
        """
        clusters = tuple(state["network"]["clusters"])
        if clusters != self.spec.clusters:
            self._set_clusters(*clusters)
        for name, part in self._parts().items():
            if name in state:
                part.load_state_dict(state[name])
        for stage, rate in self._rates().items():
            self.optimizers[stage].param_groups[0]["lr"] = rate
        self.settled = state["settled"]
        if "assigned" in state:
            self.assigned = state["assigned"].to(self.accelerator.device)

    def _check_images(self) -> None:
        """Refuse fewer images than clusters before anything is trained."""
        if self.recipe.model.experts == AUTO and len(self.data.images) < MIN_IMAGES:
            few = f"model.experts is auto, but {len(self.data.images)} training images are too few"
            raise UserError(f"{few}; set a number.")
        for label, clusters in enumerate(self.spec.clusters):
            images = int((self.data.coarse == label).sum())
            if images < clusters:
                few = f"There are {images} training images for {clusters} clusters"
                whose = f" of {self.data.labels[label]!r}" if self.data.label_count > 1 else ""
                raise UserError(f"{few}{whose}; give more images, or lower model.experts.")

    def _cluster_optimizer(self) -> Optimizer:
        parameters = [*self.model.encoder.parameters(), *self.decoder.parameters(), self.model.centroids]
        return Adam(parameters, self.recipe.optimisation.learning_rate, fused=True)

    def _set_clusters(self, clusters: int) -> None:
        """Set the number of clusters, now that it is known."""
        self.spec = self.spec.model_copy(update={"clusters": (clusters,)})
        self.model.resize(clusters)
        self.optimizers[CLUSTER] = self._cluster_optimizer()

    def _parts(self) -> dict[str, nn.Module | Optimizer]:
        return {"model": self.model, "decoder": self.decoder} | self.optimizers

    def _epoch(self, epoch: int, progress: Progress) -> EpochLosses:
        """Run one epoch whose random numbers depend on the seed and the epoch alone."""
        before = self.recipe.pretraining.epochs
        stage, first, count = (
            (PRETRAIN, 1, before) if epoch <= before else (CLUSTER, before + 1, self.recipe.optimisation.epochs)
        )
        order, views = epoch_generators(self.recipe.seed, epoch)
        batches = self.data.batches(self.architecture.batch_size, order)
        total, seen = torch.zeros((), device=self.accelerator.device), 0
        for index, chosen in enumerate(progress(batches, len(batches))):
            if stage == CLUSTER and index % self.recipe.clustering.refresh == 0:
                changed = self._look(imitate=epoch - first < self.recipe.clustering.imitation)
                self.settled = bool(seen or epoch > first) and changed < self.recipe.clustering.tolerance
                if self.settled and seen:
                    break
            self._schedule(stage, (epoch - first + index / len(batches)) / count)
            total += self._step(stage, chosen, views) * len(chosen)
            seen += len(chosen)
        return EpochLosses(epoch, stage, float(total) / seen)

    def _step(self, stage: str, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Take a step on one batch and return the loss: the reconstruction error and, if clustering, the weighted rest.

        Raises:
            DivergedError: the weights have diverged.
        """
        pixels = self.model.normalise(self.data.images[chosen])
        view = random_view(len(chosen), self.recipe.augmentation, generator)
        views = viewed(self.model.normalise, self.data.images[chosen], view)
        low = self.recipe.optimisation.precision == "bfloat16"
        self.model.train()
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=low):
            embeddings, places = self.model.encoder.with_places(views)
            rebuilt = self.decoder(embeddings, places).float().view_as(pixels)
        wanted = pixels if self.recipe.clustering.rebuild == "image" else views
        # Images are rebuilt from 0 to 1, which every non-linearity can reach.
        scale = self.model.normalise
        loss = reconstruction_error(rebuilt, wanted * scale.std + scale.mean, self.variance)
        if stage == CLUSTER:
            loss = loss + self.recipe.clustering.weight * self._clustering_loss(embeddings.float(), chosen)
        if not loss.isfinite():
            raise DivergedError(f"The training diverged: the loss overflows; lower {LEARNING_RATES[stage]}.")
        self.optimizers[stage].zero_grad()
        self.accelerator.backward(loss)
        self.optimizers[stage].step()
        return loss.detach()

    def _clustering_loss(self, embeddings: Tensor, chosen: Tensor) -> Tensor:
        """Return the divergence of the batch's soft assignment from its target, or its distance to its centroids."""
        if self.recipe.clustering.loss == "kl":
            return clustering_divergence(self._assignment(embeddings, self.data.coarse[chosen]), self._target[chosen])
        assert self.assigned is not None  # noqa: S101 - since the clusters were found
        return centroid_distance(embeddings, self.model.centroids.detach(), self.assigned[chosen])

    def _assignment(self, embeddings: Tensor, coarse: Tensor) -> Tensor:
        """Return the soft assignment of images to the clusters of their own coarse labels, float32 [N, E]."""
        assignment = soft_assignment(embeddings, self.model.centroids)
        if self.data.label_count == 1:
            return assignment
        within = assignment * (self.model.cluster_labels == coarse[:, None]) + MIN_ASSIGNMENT
        return within / within.sum(dim=1, keepdim=True)

    @torch.no_grad()
    def _look(self, imitate: bool) -> float:
        """Set the target again from all images, without augmentation; return the share whose cluster changed.

        Args:
            imitate: whether the present clusters stay; the share is then 1.
        """
        old = self.assigned
        assert old is not None  # noqa: S101 - since the clusters were found
        embeddings = self._embeddings()
        assignment = self._assignment(embeddings, self.data.coarse)
        if imitate:
            self._target, self.assigned = one_hot(old, assignment.shape[1]).float(), old
        else:
            self._target, self.assigned = self._targets(assignment), assignment.argmax(dim=1)
        if self.recipe.clustering.loss == "kmeans":
            self._centre(embeddings)
        return 1.0 if imitate else float((self.assigned != old).float().mean())

    def _targets(self, assignment: Tensor) -> Tensor:
        """Return the sharpened target of a soft assignment, float32 [N, E], within each coarse label."""
        target = torch.zeros_like(assignment)
        for label in range(self.data.label_count):
            own, images = self.model.cluster_labels == label, self.data.coarse == label
            sharpened = target_distribution(assignment[images][:, own])
            target[images.nonzero(), own.nonzero().squeeze(1)] = sharpened
        return target

    @torch.no_grad()
    def _start(self) -> None:
        """Find the first clusters in the embedding, within each coarse label."""
        embeddings = self._embeddings()
        how = self.recipe.clustering
        # From 0 to 1 where clusters are found among the pixels.
        rows = (self.data.images.flatten(1) / 255 if how.space == "pixels" else embeddings).cpu().numpy()
        if self.recipe.model.experts == AUTO:
            self._estimate(rows)
        assigned, before = torch.zeros(len(rows), dtype=torch.int64), 0
        for label, clusters in enumerate(self.spec.clusters):
            images = (self.data.coarse == label).cpu()
            found = first_clusters(rows[images.numpy()], clusters, how, self.recipe.seed)
            assigned[images] = torch.from_numpy(found) + before
            before += clusters
        self.assigned = assigned.to(embeddings.device)
        self._centre(embeddings)

    def _estimate(self, rows: NDArray[np.float32]) -> None:
        """Estimate how many clusters there are among the rows of all images, float32 [N, D], and print it."""
        scores = silhouettes(clustered_space(rows, self.recipe.clustering, self.recipe.seed), self.recipe.seed)
        self.accelerator.print(describe(scores), flush=True)
        self._set_clusters(most_likely(scores))

    def _centre(self, embeddings: Tensor) -> None:
        """Move each centroid to the mean of its cluster's embeddings; that of an empty cluster stays."""
        assert self.assigned is not None  # noqa: S101 - by the callers
        for cluster in range(len(self.model.centroids)):
            own = self.assigned == cluster
            if own.any():
                self.model.centroids.data[cluster] = embeddings[own].mean(dim=0)

    def _embeddings(self) -> Tensor:
        """Return the embeddings of all images, without augmentation, float32 [N, D]."""
        with evaluating(self.model):
            parts = torch.split(self.data.images, BATCH)
            return torch.cat([self.model.embed(part) for part in parts])

    def _schedule(self, stage: str, done: float) -> None:
        """Set a stage's step size; ``done`` is the share of the stage that is done."""
        if self.recipe.optimisation.schedule == "constant":
            return
        rate = self._rates()[stage] * (1 + math.cos(math.pi * done)) / 2
        self.optimizers[stage].param_groups[0]["lr"] = rate

    def _rates(self) -> dict[str, float]:
        """Return each stage's first step size."""
        return {PRETRAIN: self.recipe.pretraining.learning_rate, CLUSTER: self.recipe.optimisation.learning_rate}


METHOD = DeepClusteringMethod
