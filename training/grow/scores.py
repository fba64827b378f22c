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
        accuracy: share that is assigned to the right child.
        sensitivity: for two children, the share of the positive child's images that are assigned to it; for more, the
            mean of this share over all children.
        specificity: for two children, the share of the other child's images that are assigned to it; for more, the
            mean over all children of the share of the others' images that are not assigned to that child.
    """

    images: int
    accuracy: float
    sensitivity: float
    specificity: float


@torch.no_grad()
def score_node(network: GrownNetwork, images: GrowImages, node: Labels, split: str, positive: int) -> NodeScores:
    """Return a node's scores on the images of a split that belong to it; ``positive`` is its positive child's index."""
    places, truth = images.members(node, split)
    parts = torch.split(torch.from_numpy(places), BATCH_IMAGES)
    found = [network(images.images[part], node).argmax(dim=1) for part in parts]
    return scores_of(torch.cat(found).numpy(), truth, len(images.hierarchy.children(node)), positive)


def scores_of(found: Ints, truth: Ints, children: int, positive: int) -> NodeScores:
    """Return the scores of N answers.

    Args:
        found: the answers, int64 [N], 0 to children - 1.
        truth: the right answers, int64 [N], with each child at least once.
        children: number of children.
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
    """Forgetting and transfer over a whole run, as differences of accuracy.

    Args:
        forgetting: a node's best accuracy before the last step minus its accuracy after it, as the mean over all nodes
            but the last (Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018).
        backward_transfer: a node's accuracy after the last step minus its accuracy when it was learnt, as the mean over
            the same nodes (Lopez-Paz, Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017).
        forward_transfer: a node's accuracy when it was learnt minus that of the same path learnt from scratch, as the
            mean over all nodes but the first; None without that baseline.
    """

    forgetting: float
    backward_transfer: float
    forward_transfer: float | None


def transfer_of(matrix: NDArray[np.float64], scratch: Sequence[float] | None) -> Transfer:
    """Return the transfer of a run.

    Args:
        matrix: accuracy of node j after step i, float64 [T, T], NaN before the node is learnt; T >= 1.
        scratch: accuracy of each node but the first, learnt from scratch; None without that baseline.
    """
    last, when = matrix[-1], matrix.diagonal()
    steps = len(matrix)
    if steps == 1:
        return Transfer(0.0, 0.0, None)
    best = np.nanmax(matrix[:-1, :-1], axis=0)
    forward = None if scratch is None else float((when[1:] - np.array(scratch)).mean())
    return Transfer(float((best - last[:-1]).mean()), float((last[:-1] - when[:-1]).mean()), forward)


class WalkScores(NamedTuple):
    """How good whole walks from the root to a leaf are.

    Args:
        images: how many were scored.
        leaf_accuracy: share that ends at the right leaf.
        mistake_severity: height of the lowest common ancestor of the true and the found leaf, in levels above its
            lowest leaf, as the mean over the mistakes (Bertinetto et al., "Making Better Mistakes", CVPR 2020); 0
            without mistakes.
    """

    images: int
    leaf_accuracy: float
    mistake_severity: float


@torch.no_grad()
def score_walks(network: GrownNetwork, images: GrowImages, split: str) -> WalkScores:
    """Return the scores of the walks through all learnt nodes on a split; nodes not learnt yet count as leaves."""
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
    """Return the scores of N found leaves, given the true ones."""
    heights: Mapping[Labels, int] = {node: hierarchy.height(node) for node in hierarchy.inner}
    wrong = [heights[common(one, other)] for one, other in zip(found, truth, strict=True) if one != other]
    return WalkScores(len(truth), 1 - len(wrong) / len(truth), float(np.mean(wrong)) if wrong else 0.0)


def _at_frontier(leaf: Labels, learnt: set[Labels]) -> Labels:
    """Return the highest label of a leaf that no learnt node divides further."""
    depth = next(depth for depth in range(1, len(leaf) + 1) if leaf[:depth] not in learnt)
    return leaf[:depth]
