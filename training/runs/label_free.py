"""Figures that need no fine label: what chooses between restarts, and what hyper-parameters are compared by.

Accuracy against coarse labels says whether the experts do their work; the mutual information within each group says
whether the routing finds classes there: it is high only for clusters that are sure, alike in size and the same for
two views of an image (Ji, Henriques, Vedaldi, arXiv:1807.06653).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augmentation import Motions, moved, random_motions
from training.data.data import CoarseData
from training.engine.collectives import in_shares
from training.losses.mutual_information import joint_routing, mutual_information
from training.models.inference import BATCH, evaluating, route
from training.models.mixture import GatedExperts
from training.recipe.recipe import Augmentation, Recipe

IMAGES = 10_000  # enough for three digits
SMALLEST_PROBABILITY = 1e-7
LEAST_SHARE = 0.01  # of the images, for an expert to be in use
LEAST_AGREEMENT = 0.8  # of an image and its view; an arbitrary border through one class lies below it


@dataclass(frozen=True)
class LabelFree:
    """What can be said of a model without fine labels.

    Args:
        images: how many it was measured on.
        binary_accuracy: share of images whose coarse label is predicted.
        log_likelihood: mean log-likelihood of the coarse labels, in nats, 0 at best.
        mutual_information: within each coarse group, between the experts of an image and of a random view of it, in
            nats, 0 to ln E; without coarse labels, of all images.
        joint: float32 [groups, E, E], in each group the share of images of one expert whose view is another's.
    """

    images: int
    binary_accuracy: float
    log_likelihood: float
    mutual_information: tuple[float, ...]
    joint: NDArray[np.float32]

    @property
    def score(self) -> float:
        """Return the label-free score: log-likelihood plus mutual information, ln E a group at best; higher is better.

        It compares runs with the same augmentation and as many experts: wider views lower it by themselves.
        """
        return self.log_likelihood + sum(self.mutual_information)

    def collapse(self, labels: Sequence[str], clusters: Sequence[int]) -> list[str]:
        """Return what has collapsed as sentences, none if every expert is in use and every cluster apart.

        Args:
            labels: the names of the groups.
            clusters: how many each group should have; where it has as many, the other experts may be empty.
        """
        shares = self.joint.sum(axis=2)
        idle = shares.max(axis=0) < LEAST_SHARE
        divided = len(labels) > 1
        whose = " of either group" if divided else ""
        words = [f"under 1 % of the images{whose} go to {_listed(idle)}"] if idle.any() else []
        for label, share, joint, count in zip(labels, shares, self.joint, clusters, strict=True):
            place = f"in group {label} " if divided else ""
            used, agreement = share >= LEAST_SHARE, joint.diagonal() / share.clip(LEAST_SHARE)
            empty, torn = ~used & ~idle, used & (agreement < LEAST_AGREEMENT)
            if empty.any() and used.sum() < count:
                words.append(f"{place}under 1 % go to {_listed(empty)}, so classes are merged there")
            if torn.any():
                words.append(
                    f"{place}an image and its view meet at one expert with a probability of only "
                    f"{agreement[torn].min():.0%} at worst ({_listed(torn)}), so classes may be split or merged there"
                )
        return words

    def row(self) -> dict[str, float]:
        """Return the figures as columns of a table."""
        return {
            "label_free/score": self.score,
            "label_free/mutual_information": sum(self.mutual_information),
            "label_free/binary_accuracy": self.binary_accuracy,
        }


def _listed(experts: NDArray[np.bool_]) -> str:
    numbers = [str(expert) for expert in np.flatnonzero(experts)]
    return f"expert{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def label_free(model: GatedExperts, data: CoarseData, recipe: Recipe) -> LabelFree:
    """Measure a model on at most ``IMAGES`` images, evenly spaced, with the same random views on every call."""
    chosen = torch.linspace(0, len(data.images) - 1, min(IMAGES, len(data.images))).long()
    images, positive = data.images[chosen].cpu(), data.targets[chosen].cpu().numpy() > 0.5
    routed = route(model, images.numpy(), recipe.routing == "hard")
    other = _route_views(model, images, recipe.augmentation)
    routing = torch.from_numpy(routed.routing)
    sides = [positive == bool(label) for label in range(len(recipe.data.grouping().labels))]
    groups = [(routing[side], other[side]) for side in sides]
    probability = routed.positive_probability
    of_truth = np.where(positive, probability, 1 - probability).clip(SMALLEST_PROBABILITY, 1)
    return LabelFree(
        len(images),
        float(((probability > 0.5) == positive).mean()),
        float(np.log(of_truth).mean()),
        tuple(float(mutual_information(*group)) for group in groups),
        np.stack([joint_routing(*group).numpy() for group in groups]),
    )


def describe(found: LabelFree, recipe: Recipe) -> str:
    """Say the figures and what has collapsed in words, for the end of a run."""
    grouping = recipe.data.grouping()
    most = len(grouping.labels) * math.log(found.joint.shape[1])
    coarse = f", log-likelihood {found.log_likelihood:z.4f}, binary accuracy {found.binary_accuracy:.4f}"
    lines = [
        f"label-free score {found.score:z.4f}: mutual information {sum(found.mutual_information):z.4f} of at most "
        f"{most:.2f} nats{coarse if grouping.divided else ''} "
        f"({found.images:,} {'validation' if recipe.data.validation_images else 'training'} images)"
    ]
    collapsed = found.collapse(grouping.labels, recipe.clusters())
    lines += [f"collapse: {words}" for words in collapsed]
    places = " in both groups" if grouping.divided else ""
    return "\n".join(lines if collapsed else [*lines, f"no collapse: every expert is in use{places}"])


def _route_views(model: GatedExperts, images: Tensor, augmentation: Augmentation) -> Tensor:
    """Return the routing of one random view of each image, float32 [N, E]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = [(part, random_motions(len(part), augmentation)) for part in torch.split(images, BATCH)]

    def route_view(part: tuple[Tensor, Motions | None]) -> Tensor:
        pixels = model.normalise(part[0].to(device))
        return model.route(moved(pixels, part[1])).log_routing.exp()

    with evaluating(model) as device:
        return in_shares(route_view, parts).cpu()
