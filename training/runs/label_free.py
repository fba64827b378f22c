"""Figures that need no fine classes, for choosing between restarts and for comparing hyper-parameters.

Accuracy against coarse labels measures whether the experts do their work; the mutual information within each group,
the images of one coarse label, measures whether the routing finds classes there: it is high only for clusters that are
sure, alike in size and the same for two views of an image (Ji, Henriques, Vedaldi, arXiv:1807.06653).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from training.data.augmentation import View, random_view, viewed
from training.data.data import CoarseData
from training.engine.collectives import in_shares
from training.engine.seeding import generator_of
from training.losses.mutual_information import joint_routing, mutual_information
from training.models.inference import BATCH, evaluating, route
from training.models.mixture import GatedExperts
from training.recipe.recipe import Augmentation

# Images, enough for three digits.
MAX_IMAGES = 10_000
SMALLEST_PROBABILITY = 1e-7
# Share of a coarse label's cells over which its images should be spread; they cover fewer if most experts are idle.
LEAST_SPREAD = 0.5
# Share of a coarse label's images that should be at the same expert as their view.
LEAST_AGREEMENT = 0.5


@dataclass(frozen=True)
class LabelFree:
    """What can be measured on a model without fine classes.

    Args:
        images: how many it was measured on.
        coarse_accuracy: share of images whose coarse label is predicted; None for a single coarse label.
        log_likelihood: mean log-likelihood of the coarse labels, in nats, 0 at best.
        mutual_information: for each of the K coarse labels, between the experts of an image and of a random view of
            it, in nats, 0 to ln E.
        joint: float32 [K, E, E], for each coarse label the share of images whose most probable expert is the first and
            whose view's is the second.
    """

    images: int
    coarse_accuracy: float | None
    log_likelihood: float
    mutual_information: tuple[float, ...]
    joint: NDArray[np.float32]

    @property
    def score(self) -> float:
        """Return the label-free score: log-likelihood plus mutual information, K ln E at best; higher is better.

        It compares runs with the same augmentation and equally many experts: wider views alone lower it.
        """
        return self.log_likelihood + sum(self.mutual_information)

    def collapsed(self, labels: Sequence[str], clusters: Sequence[int]) -> list[str]:
        """Return sentences that say what has collapsed: coarse labels whose images are all at a few of many cells.

        Of many cells some may stand idle without harm, so that few also means at most the square root of their number.

        Args:
            labels: the names of the coarse labels.
            clusters: how many clusters each of them should have.
        """
        return [
            f"{self._place(label, labels)}the images are spread as over {spread:.1f} of {count} cells, so classes are "
            "merged"
            for label, joint, count in zip(labels, self.joint, clusters, strict=True)
            if (spread := _spread(joint.sum(axis=1))) <= min(LEAST_SPREAD * count, math.sqrt(count))
        ]

    def unstable(self, labels: Sequence[str]) -> list[str]:
        """Return sentences on the coarse labels whose images are often at another expert than their random views.

        Args:
            labels: the names of the coarse labels.
        """
        return [
            f"{self._place(label, labels)}only {joint.trace():.0%} of the images meet a random view of themselves at "
            "the same expert, so a cell may hold several classes"
            for label, joint in zip(labels, self.joint, strict=True)
            if joint.any() and joint.trace() < LEAST_AGREEMENT
        ]

    @staticmethod
    def _place(label: str, labels: Sequence[str]) -> str:
        return f"in group {label} " if len(labels) > 1 else ""

    def row(self) -> dict[str, float]:
        """Return the figures as columns of a table."""
        accuracy = {} if self.coarse_accuracy is None else {"label_free/coarse_accuracy": self.coarse_accuracy}
        information = {"label_free/mutual_information": sum(self.mutual_information)}
        return {"label_free/score": self.score} | information | accuracy


def _decided(routing: Tensor) -> Tensor:
    """Return a routing distribution as its one-hot maximum, float32 [N, E]: a soft assignment may still be sure."""
    return one_hot(routing.argmax(dim=1), routing.shape[1]).float()


def _spread(shares: NDArray[np.float32]) -> float:
    """Return how many equally large cells have the same entropy as ``shares``, 0 without images."""
    present = shares[shares > 0]
    return float(np.exp(-(present * np.log(present)).sum())) if len(present) else 0.0


def label_free(model: GatedExperts, data: CoarseData, augmentation: Augmentation, hard: bool) -> LabelFree:
    """Measure a model on at most ``MAX_IMAGES`` images, evenly spaced, with the same random views on every call.

    Args:
        model: what is measured.
        data: images and coarse labels.
        augmentation: how random views differ from their images.
        hard: whether one expert alone decides on an image.
    """
    chosen = torch.linspace(0, len(data.images) - 1, min(MAX_IMAGES, len(data.images))).long()
    images, coarse = data.images[chosen].cpu(), data.coarse[chosen].cpu().numpy()
    routed = route(model, images.numpy(), hard)
    if data.views is None:
        other = _route_views(model, images, augmentation)
    else:
        other = torch.from_numpy(route(model, data.views[chosen, 0].cpu().numpy(), hard).routing)
    members = [coarse == label for label in range(data.label_count)]
    groups = [(torch.from_numpy(routed.routing[member]), other[member]) for member in members]
    probability = routed.coarse_probability
    of_truth = probability[np.arange(len(coarse)), coarse].clip(SMALLEST_PROBABILITY, 1)
    return LabelFree(
        len(images),
        float((probability.argmax(axis=1) == coarse).mean()) if data.label_count > 1 else None,
        float(np.log(of_truth).mean()),
        tuple(float(mutual_information(*group)) for group in groups),
        np.stack([joint_routing(*map(_decided, group)).numpy() for group in groups]),
    )


def describe(found: LabelFree, labels: Sequence[str], clusters: Sequence[int], held_out: bool) -> str:
    """Return the figures in words, and what has collapsed or is not stable, for the end of a run.

    Args:
        found: the figures.
        labels: the names of the coarse labels.
        clusters: how many clusters each of them should have.
        held_out: whether the images were held out from training.
    """
    most = len(labels) * math.log(found.joint.shape[1])
    coarse = "" if found.coarse_accuracy is None else f", coarse accuracy {found.coarse_accuracy:.4f}"
    likelihood = f", log-likelihood {found.log_likelihood:z.4f}" if coarse else ""
    places = " in every group" if len(labels) > 1 else ""
    notes = [f"collapse: {words}" for words in found.collapsed(labels, clusters)] or found.unstable(labels)
    return "\n".join(
        [
            f"label-free score {found.score:z.4f}: mutual information {sum(found.mutual_information):z.4f} of at most "
            f"{most:.2f} nats{likelihood}{coarse} "
            f"({found.images:,} {'validation' if held_out else 'training'} images)",
            *(notes or [f"the images are spread over stable cells{places}"]),
        ]
    )


def _route_views(model: GatedExperts, images: Tensor, augmentation: Augmentation) -> Tensor:
    """Return the routing of one random view of each image, float32 [N, E]."""
    generator = generator_of(0)
    parts = [(part, random_view(len(part), augmentation, generator)) for part in torch.split(images, BATCH)]

    def route_view(part: tuple[Tensor, View]) -> Tensor:
        return model.route(viewed(model.normalise, part[0].to(device), part[1])).log_routing.exp()

    with evaluating(model) as device:
        return in_shares(route_view, parts).cpu()
