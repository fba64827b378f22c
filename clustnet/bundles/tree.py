"""Trees of labels: an answer walks from the root to a leaf, at each node on to the most probable child."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.class_map import guesses
from clustnet.bundles.groups import UNKNOWN
from clustnet.bundles.predictor import Predictions

# The parent of top-level labels.
ROOT = -1


def walk(parents: Sequence[int], probability: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the labels on the way from the root to a leaf, int64 [N, L], with ``UNKNOWN`` after the leaf.

    Args:
        parents: the parent of each of the M labels, which precedes it; ``ROOT`` for top-level labels.
        probability: [N, M] probability of each label; only labels with the same parent are compared.
    """
    children: dict[int, list[int]] = {}
    for label, parent in enumerate(parents):
        children.setdefault(parent, []).append(label)
    here = np.full(len(probability), ROOT, np.int64)
    steps: list[NDArray[np.int64]] = []
    while len(moving := np.flatnonzero(np.isin(here, list(children)))):
        following = np.full(len(here), UNKNOWN, np.int64)
        for node in np.unique(here[moving]).tolist():
            rows = moving[here[moving] == node]
            following[rows] = np.array(children[node])[probability[rows][:, children[node]].argmax(axis=1)]
        steps.append(following)
        # A finished walk must not start again at the root: ROOT and UNKNOWN are the same number.
        here = np.where(following == UNKNOWN, len(parents), following)
    return np.stack(steps, axis=1) if steps else np.empty((len(probability), 0), np.int64)


def leaves(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the leaf at the end of each walk, int64 [N], given the labels that ``walk`` returns."""
    last = (steps != UNKNOWN).sum(axis=1) - 1
    found: NDArray[np.int64] = steps[np.arange(len(steps)), last]
    return found


def guessed(outputs: Predictions, manifest: Manifest) -> NDArray[np.int64]:
    """Return the guessed subtype of each image, int64 [N]: with a tree, the leaf at the end of the walk.

    Without a tree it is the most probable subtype of the most probable coarse label, a walk through two levels.

    Args:
        outputs: the outputs for N images.
        manifest: the manifest of the bundle that gave them.
    """
    if manifest.tree is None:
        return guesses(outputs.coarse_probability, outputs.class_probability, manifest.membership())
    subtypes = {name: place for place, name in enumerate(manifest.class_names)}
    numbers = np.array([subtypes.get(label.name, UNKNOWN) for label in manifest.tree])
    steps = steps_of(outputs, manifest)
    found: NDArray[np.int64] = numbers[leaves(steps)]
    return found


def steps_of(outputs: Predictions, manifest: Manifest) -> NDArray[np.int64]:
    """Return the labels of the manifest's tree on the walk of each image, int64 [N, L], ``UNKNOWN`` after the leaf."""
    return walk([label.parent for label in manifest.tree or ()], outputs.label_probability)
