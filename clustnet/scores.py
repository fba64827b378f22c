"""Scores of a routing against true classes: accuracy, clustering accuracy, NMI, ARI, load, entropy."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from clustnet.coarse import CoarseGrouping
from clustnet.routing import routing_entropy

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]


def clustering_accuracy(clusters: Integers, classes: Integers) -> float:
    """Share of images in the class that the best one-to-one matching gives their cluster.

    The matching is found by the Hungarian algorithm (Kuhn 1955); clusters beyond the number of
    classes stay unmatched and count as wrong (Xie et al., "Unsupervised Deep Embedding", 2016).

    Args:
        clusters: [N] cluster of each image.
        classes: [N] true class of each image.

    Returns:
        0 to 1; nan for no images.
    """
    if len(clusters) == 0:
        return float("nan")
    table = contingency_matrix(classes, clusters)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(clusters))


def cells(routing: Floats, positive_probability: Floats) -> NDArray[np.int64]:
    """Return each image's cell, ``2 * expert + predicted coarse label``, int64 [N].

    Args:
        routing: [N, E] routing distribution.
        positive_probability: [N] probability of the positive coarse label.
    """
    cell: NDArray[np.int64] = 2 * routing.argmax(axis=1) + (positive_probability > 0.5)
    return cell


def expert_load(routing: Floats) -> NDArray[np.float64]:
    """Return the share of images whose top expert is each of the E experts, float64 [E]."""
    return np.bincount(routing.argmax(axis=1), minlength=routing.shape[1]) / len(routing)


def routing_scores(
    routing: Floats, positive_probability: Floats, fine: Integers, grouping: CoarseGrouping
) -> dict[str, float]:
    """Score a routing against the true classes.

    Args:
        routing: [N, E] routing distribution.
        positive_probability: [N] probability of the positive coarse label.
        fine: [N] true fine classes.
        grouping: the fine classes behind each coarse label.

    Returns:
        ``binary_accuracy``; ``group_accuracy/LABEL``, the clustering accuracy of the experts among the
        images of one true coarse label, as the original ClustNet reports it; ``cell_accuracy``, ``nmi``
        (arithmetic mean) and ``ari`` of the cells against all fine classes; ``expert_load/E``; and
        ``routing_entropy``, the mean in nats.
    """
    coarse = grouping.coarse(fine)
    experts, cell = routing.argmax(axis=1), cells(routing, positive_probability)
    scores = {"binary_accuracy": float(((positive_probability > 0.5) == coarse).mean())}
    for index, label in enumerate(grouping.labels):
        group = coarse == index
        scores[f"group_accuracy/{label}"] = clustering_accuracy(experts[group], fine[group])
    scores["cell_accuracy"] = clustering_accuracy(cell, fine)
    scores["nmi"] = float(normalized_mutual_info_score(fine, cell))
    scores["ari"] = float(adjusted_rand_score(fine, cell))
    scores |= {f"expert_load/{e}": float(load) for e, load in enumerate(expert_load(routing))}
    scores["routing_entropy"] = float(routing_entropy(routing).mean())
    return scores


def idle_experts(scores: Mapping[str, float], least: float = 0.01) -> list[int]:
    """Return the experts whose load in ``routing_scores`` is under ``least``."""
    loads = {key: value for key, value in scores.items() if key.startswith("expert_load/")}
    return [int(key.removeprefix("expert_load/")) for key, value in loads.items() if value < least]
