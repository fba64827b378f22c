"""The batches of an epoch: of one node, with or without kept images of earlier ones, or of all nodes at once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from clustnet.bundles.groups import UNKNOWN
from clustnet.datasets.folder_layout import TRAIN
from training.data.sampling import Groups, balanced
from training.grow.config import GrowRecipe
from training.grow.data import GrowImages
from training.grow.hierarchy import Labels
from training.grow.streams import stream


class Batch(NamedTuple):
    """Images, and which of them each node learns from.

    Args:
        places: indices of the N images among all images, int64 [N].
        members: indices of each node's images among the N, int64 [M], ascending.
        targets: the child that each of a node's images belongs to, int64 [M].
    """

    places: Tensor
    members: dict[Labels, Tensor]
    targets: dict[Labels, Tensor]


class Batches(Protocol):
    """Draws the batches of epochs."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch."""


class NodeBatches:
    """Batches of the training images of one node, its children balanced.

    Args:
        images: images of the run.
        node: the node that is learnt.
        recipe: gives the sizes, and how many images are kept.
        earlier: nodes whose kept images are added to each batch, in all about as many as it has of ``node``.
    """

    def __init__(self, images: GrowImages, node: Labels, recipe: GrowRecipe, earlier: Sequence[Labels] = ()) -> None:
        self._node = node
        self._children = {each: _children(images, each) for each in (node, *earlier)}
        for each in earlier:
            generator = stream(recipe.seed, each, "kept")
            self._children[each] = [
                group[torch.randperm(len(group), generator=generator)[: recipe.forgetting.kept]]
                for group in self._children[each]
            ]
        own = sum(map(len, self._children[node]))
        self._images = min(own, recipe.optimisation.epoch_images or own)
        self._size = min(recipe.optimisation.batch_size, self._images)

    @property
    def steps(self) -> int:
        """Full batches in an epoch; the images left over are not drawn."""
        return self._images // self._size

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        drawn = self._drawn(self._node, self.steps * self._size, generator)
        earlier = [node for node in self._children if node != self._node]
        share = max(1, self._size // len(earlier)) if earlier else 0
        kept = {node: self._drawn(node, self.steps * share, generator) for node in earlier}
        for step in range(self.steps):
            parts = {self._node: _slice(drawn, step, self._size)}
            parts |= {node: _slice(kept[node], step, share) for node in earlier}
            yield _joined(parts)

    def _drawn(self, node: Labels, images: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return places and children of a balanced sample."""
        groups = self._children[node]
        places = torch.cat(groups)
        child = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor([len(group) for group in groups]))
        spans = torch.split(torch.arange(len(places)), [len(group) for group in groups])
        chosen = balanced(spans, images, generator)
        return places[chosen], child[chosen]


class JointBatches:
    """Batches for all nodes at once, with each node's children balanced, from the root down.

    Args:
        images: images of the run.
        nodes: all nodes.
        recipe: gives the batch size.
        steps: steps in an epoch.
    """

    def __init__(self, images: GrowImages, nodes: Sequence[Labels], recipe: GrowRecipe, steps: int) -> None:
        self.steps = steps
        self._size = recipe.optimisation.batch_size
        self._nodes, self._leaf = nodes, torch.from_numpy(images.leaf)
        self._targets = {node: torch.from_numpy(images.targets[node]) for node in nodes}
        self._groups = _nested(images, (), nodes)

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        drawn = balanced(self._groups, self.steps * self._size, generator)
        for places in torch.split(drawn, self._size):
            child = {node: self._targets[node][self._leaf[places]] for node in self._nodes}
            members = {node: (found != UNKNOWN).nonzero().squeeze(1) for node, found in child.items()}
            # One image alone has no variance, which batch normalisation needs.
            members = {node: some for node, some in members.items() if len(some) > 1}
            yield Batch(places, members, {node: child[node][some] for node, some in members.items()})


def _children(images: GrowImages, node: Labels) -> list[Tensor]:
    """Return the training images of each child of a node."""
    places, child = images.members(node, TRAIN)
    return [torch.from_numpy(places[child == number]) for number in range(len(images.hierarchy.children(node)))]


def _nested(images: GrowImages, node: Labels, nodes: Sequence[Labels]) -> Groups:
    """Return a node's training images grouped by child; a child among ``nodes`` is grouped further in the same way."""
    return [
        _nested(images, (*node, label), nodes) if (*node, label) in nodes else group
        for label, group in zip(images.hierarchy.children(node), _children(images, node), strict=True)
    ]


def _slice(drawn: tuple[Tensor, Tensor], step: int, size: int) -> tuple[Tensor, Tensor]:
    span = slice(step * size, (step + 1) * size)
    return drawn[0][span], drawn[1][span]


def _joined(parts: dict[Labels, tuple[Tensor, Tensor]]) -> Batch:
    """Return one batch of the images of several nodes, one after the other."""
    places = torch.cat([places for places, _ in parts.values()])
    ends = np.cumsum([len(places) for places, _ in parts.values()]).tolist()
    starts = [0, *ends[:-1]]
    members = {node: torch.arange(start, end) for node, start, end in zip(parts, starts, ends, strict=True)}
    return Batch(places, members, {node: child for node, (_, child) in parts.items()})
