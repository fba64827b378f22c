"""Proof that the graphs of a tree compute what the network does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clustnet.bundles.bundle import CONDITIONAL, MIXTURE
from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, OUTPUTS, TREE_OUTPUT
from clustnet.bundles.tree import ROOT, walk
from onnx_export.parity import BATCH_SIZES, TOLERANCE, ParityError, run_graph
from onnx_export.tree_graphs import TreeGraph, predict_tree

Floats = NDArray[np.float32]


def check_tree_parity(folder: Path, tree: TreeGraph, images: NDArray[np.uint8], raw: Tensor) -> float:
    """Return how far torch and the graphs differ: ``mixture.onnx`` everywhere, ``conditional.onnx`` along the walk.

    Args:
        folder: the folder of the graphs.
        tree: the whole model.
        images: uint8 [N, ...], as the graphs read them.
        raw: the same images or their embeddings, as the network reads them.

    Returns:
        The largest absolute difference of any output.

    Raises:
        ParityError: a difference above ``TOLERANCE``.
    """
    expected = vars(predict_tree(tree, raw))
    looked = looked_at(tree.network.parents, expected[TREE_OUTPUT])
    worst = 0.0
    for size in BATCH_SIZES:
        whole = run_graph(folder / MIXTURE, [*OUTPUTS, TREE_OUTPUT], images, size)
        part = run_graph(folder / CONDITIONAL, [*CONDITIONAL_OUTPUTS, TREE_OUTPUT], images, size)
        found = [(MIXTURE, name, np.abs(array - expected[name])) for name, array in whole.items()]
        for name in ("coarse_probability", "confidence"):
            found.append((CONDITIONAL, name, np.abs(part[name] - expected[name])))
        found.append((CONDITIONAL, TREE_OUTPUT, np.abs(part[TREE_OUTPUT] - expected[TREE_OUTPUT])[looked]))
        for graph, name, difference in found:
            largest = float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))
            if largest > TOLERANCE:
                raise ParityError(
                    f"{graph} at batch size {size} differs from torch by {largest:.2g} in {name}, more than "
                    f"{TOLERANCE:g}; no bundle was written."
                )
            worst = max(worst, largest)
    return worst


def looked_at(parents: Sequence[int], probability: Floats) -> NDArray[np.bool_]:
    """Return which labels are compared at a step of the walk, bool [N, M]; after a tie, no label below is counted.

    Args:
        parents: as for ``clustnet.bundles.tree.walk``.
        probability: float32 [N, M] the probability of each label.
    """
    steps = walk(parents, probability)
    looked = np.zeros(probability.shape, bool)
    of_parent = np.array(parents)
    sure = np.ones(len(probability), bool)
    looked[:, of_parent == ROOT] = True
    for depth in range(steps.shape[1]):
        for label in np.unique(steps[steps[:, depth] >= 0, depth]).tolist():
            rows = steps[:, depth] == label
            siblings = (of_parent == of_parent[label]) & (np.arange(len(of_parent)) != label)
            lead = probability[rows, label] - probability[rows][:, siblings].max(axis=1)
            sure[rows] &= lead > 2 * TOLERANCE
            looked[np.ix_(rows & sure, of_parent == label)] = True
    return looked
