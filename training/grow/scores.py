"""How well each node tells its children apart, and what is forgotten when others are learnt."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clustnet.bundles.tree import leaves, walk
from training.grow.data import GrowImages
from training.grow.hierarchy import Hierarchy, Labels, common
from training.grow.network import GrownNetwork

BATCH_IMAGES = 256

Ints = NDArray[np.int64]


class NodeScores(NamedTuple):
    """How well a node tells its children apart.

    Args:
        images: how many were scored.
        accuracy: the share that is right.
        sensitivity: of two children, the share of the positive one's images that are right; of more, the mean over all
            children.
        specificity: of two children, the share of the other one's images that are right; of more, the mean over all
            children of the share of others' images that are not taken for theirs.
    """

    images: int
    accuracy: float
    sensitivity: float
    specificity: float


@torch.no_grad()
def score_node(network: GrownNetwork, images: GrowImages, node: Labels, split: str, positive: int) -> NodeScores:
    """Return the scores of a node on the images of a split that belong to it; ``positive`` is its positive child."""
    places, truth = images.members(node, split)
    parts = torch.split(torch.from_numpy(places), BATCH_IMAGES)
    found = [network(images.images[part], node).argmax(dim=1) for part in parts]
    return scores_of(torch.cat(found).numpy(), truth, len(images.hierarchy.children(node)), positive)


def scores_of(found: Ints, truth: Ints, children: int, positive: int) -> NodeScores:
    """Return the scores of N answers.

    Args:
        found: int64 [N], 0 to children - 1.
        truth: int64 [N], with each child at least once.
        children: how many there are.
        positive: the one of two children that sensitivity is about.
    """
    confusion = np.zeros((children, children))
    np.add.at(confusion, (truth, found), 1)
    of_child = confusion.sum(axis=1)
    sensitivity = confusion.diagonal() / of_child
    wrongly = confusion.sum(axis=0) - confusion.diagonal()
    specificity = 1 - wrongly / (len(truth) - of_child)
    of = [positive] if children == 2 else slice(None)
    return NodeScores(
        len(truth), float((found == truth).mean()), float(sensitivity[of].mean()), float(specificity[of].mean())
    )


class Transfer(NamedTuple):
    """The results of a whole run's accuracies.

    Args:
        forgetting: the mean over the nodes before the last of the best accuracy that a node had before the last step,
            less its accuracy after that (Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018).
        backward_transfer: the mean over these of the accuracy after the last step, less that when the node was learnt
            (Lopez-Paz, Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017).
        forward_transfer: the mean over the nodes after the first of the accuracy when the node was learnt, less that of
            the same path learnt from scratch; None without that baseline.
    """

    forgetting: float
    backward_transfer: float
    forward_transfer: float | None


def transfer_of(matrix: NDArray[np.float64], scratch: Sequence[float] | None) -> Transfer:
    """Return the transfer of a run.

    Args:
        matrix: [T, T], the accuracy of node j after step i, NaN before it is learnt; T >= 1.
        scratch: the accuracy of each node after the first, learnt from scratch.
    """
    last, when = matrix[-1], matrix.diagonal()
    steps = len(matrix)
    if steps == 1:
        return Transfer(0.0, 0.0, None)
    best = np.nanmax(matrix[:-1, :-1], axis=0)
    forward = None if scratch is None else float((when[1:] - np.array(scratch)).mean())
    return Transfer(float((best - last[:-1]).mean()), float((last[:-1] - when[:-1]).mean()), forward)


class WalkScores(NamedTuple):
    """How well whole walks from the root to a leaf are.

    Args:
        images: how many were scored.
        leaf_accuracy: the share whose leaf is right.
        mistake_severity: the mean over the others of the levels from the true and the found leaf up to the node that
            both lie below, counted from the lowest leaf of that node (Bertinetto et al., "Making Better Mistakes",
            CVPR 2020); 0 without mistakes.
    """

    images: int
    leaf_accuracy: float
    mistake_severity: float


@torch.no_grad()
def score_walks(network: GrownNetwork, images: GrowImages, split: str) -> WalkScores:
    """Return the scores of the walks through all learnt nodes on a split; what is not learnt yet counts as a leaf."""
    places = torch.from_numpy(np.flatnonzero(images.split == split))
    parts = [
        network.label_probability(network.all_logits(network.normalise(images.images[part])))
        for part in torch.split(places, BATCH_IMAGES)
    ]
    found = leaves(walk(network.parents, torch.cat(parts).numpy()))
    labels, learnt = network.labels, set(network.learnt)
    frontier = Hierarchy(tuple(sorted(label for label in labels if label not in learnt)))
    truth = [_at_frontier(images.hierarchy.leaves[leaf], learnt) for leaf in images.leaf[places.numpy()]]
    return walk_scores([labels[leaf] for leaf in found], truth, frontier)


def walk_scores(found: Sequence[Labels], truth: Sequence[Labels], hierarchy: Hierarchy) -> WalkScores:
    """Return the scores of N leaves that were found, beside the true ones."""
    heights: Mapping[Labels, int] = {node: hierarchy.height(node) for node in hierarchy.inner}
    wrong = [heights[common(one, other)] for one, other in zip(found, truth, strict=True) if one != other]
    return WalkScores(len(truth), 1 - len(wrong) / len(truth), float(np.mean(wrong)) if wrong else 0.0)


def _at_frontier(leaf: Labels, learnt: set[Labels]) -> Labels:
    """Return the highest label of a leaf that no learnt node divides further."""
    depth = next(depth for depth in range(1, len(leaf) + 1) if leaf[:depth] not in learnt)
    return leaf[:depth]
