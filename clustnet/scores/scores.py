"""Scores against the truth: accuracy, clustering accuracy, NMI, ARI, load, entropy, calibration, AUROC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.metrics.cluster import contingency_matrix

from clustnet.bundles.groups import UNKNOWN
from clustnet.bundles.routing import Floats, routing_entropy
from clustnet.scores.tables import Table, ari, matched_share, nmi, purity

Integers = NDArray[np.integer]

CALIBRATION_BINS = 15
# The share of the images of its predicted coarse label that a cell must have to be in use.
LEAST_CELL_SHARE = 0.01


def clustering_accuracy(clusters: Integers, classes: Integers) -> float:
    """Return the share of images in the class that the best one-to-one matching gives their cluster, 0 to 1.

    Args:
        clusters: [N] cluster of each image, N at least 1.
        classes: [N] true class of each image.
    """
    return matched_share(contingency_matrix(classes, clusters))


def clustering_scores(clusters: Integers, classes: Integers) -> dict[str, float]:
    """Return ``accuracy`` (see ``clustering_accuracy``), ``nmi`` (arithmetic mean) and ``ari`` of clusters.

    Args:
        clusters: [N] cluster of each image.
        classes: [N] true class of each image, ``UNKNOWN`` where it is not known.

    Returns:
        The scores over the images whose class is known; empty if there are none.
    """
    known = classes != UNKNOWN
    if not known.any():
        return {}
    table = contingency_matrix(classes[known], clusters[known])
    return {"accuracy": matched_share(table), "nmi": nmi(table), "ari": ari(table)}


def cells(routing: Floats, coarse_probability: Floats) -> NDArray[np.int64]:
    """Return each image's cell, ``K * expert + predicted coarse label``, int64 [N].

    Args:
        routing: [N, E] routing distribution.
        coarse_probability: [N, K] probability of each coarse label.
    """
    labels = coarse_probability.shape[1]
    cell: NDArray[np.int64] = labels * routing.argmax(axis=1) + coarse_probability.argmax(axis=1)
    return cell


@dataclass(frozen=True)
class RoutingCounts:
    """The counts from which the scores of a routing are computed.

    Args:
        coarse: int64 [K, K] images by true (row) and predicted coarse label, of those whose coarse label is known.
        groups: for each of the K coarse labels int64 [classes, E], its images by true class and most probable expert,
            of those whose class is known.
        cells: int64 [classes, E * K] images by true class and cell, of those whose class is known.
        load: int64 [E, K] images by most probable expert and predicted coarse label.
        mean_entropy: mean entropy of the routing distributions, in nats.
    """

    coarse: Table
    groups: tuple[Table, ...]
    cells: Table
    load: NDArray[np.int64]
    mean_entropy: float

    def scores(self, coarse_labels: Sequence[str]) -> dict[str, float]:
        """Return the scores; see ``routing_scores``."""
        scores = {}
        if len(coarse_labels) > 1:
            if self.coarse.any():
                scores["coarse_accuracy"] = float(self.coarse.trace() / self.coarse.sum())
            for label, table in zip(coarse_labels, self.groups, strict=True):
                if table.any():
                    scores[f"group_accuracy/{label}"] = matched_share(table)
        if self.cells.any():
            table = self.cells
            scores |= {
                "cell_accuracy": matched_share(table),
                "purity": purity(table),
                "nmi": nmi(table),
                "ari": ari(table),
            }
        loads = self.load.sum(axis=1) / self.load.sum()
        least = np.maximum(1, LEAST_CELL_SHARE * self.load.sum(axis=0))
        scores["cells_in_use"] = float((self.load >= least).sum())
        scores |= {f"expert_load/{expert}": float(share) for expert, share in enumerate(loads)}
        return scores | {"routing_entropy": self.mean_entropy}


def routing_scores(
    routing: Floats, coarse_probability: Floats, coarse: Integers, fine: Integers, coarse_labels: Sequence[str]
) -> dict[str, float]:
    """Return the scores of a routing that the truth allows.

    Args:
        routing: [N, E] routing distribution, N at least 1.
        coarse_probability: [N, K] probability of each coarse label.
        coarse: [N] true coarse labels, ``UNKNOWN`` where they are not known.
        fine: [N] true fine classes, ``UNKNOWN`` where they are not known.
        coarse_labels: the names of the K coarse labels.

    Returns:
        ``coarse_accuracy``; ``group_accuracy/LABEL``, the clustering accuracy of the experts among the images of one
        true coarse label, as the original ClustNet reports it; ``cell_accuracy``, ``purity``, ``nmi`` (arithmetic mean)
        and ``ari`` of the cells against the fine classes; ``cells_in_use``, the number of cells with at least 1 % of
        the images of their predicted coarse label; ``expert_load/E``; and ``routing_entropy``, the mean in nats. The
        first two are left out if there is only one coarse label. A score whose truth is known for no image is left out
        as well.
    """
    expert, predicted = routing.argmax(axis=1), coarse_probability.argmax(axis=1)
    experts, labels = routing.shape[1], coarse_probability.shape[1]
    classes = int(fine.max(initial=0)) + 1
    known, known_coarse = fine != UNKNOWN, coarse != UNKNOWN
    groups = (known & (coarse == label) for label in range(labels))
    counts = RoutingCounts(
        coarse=count_table((coarse[known_coarse], predicted[known_coarse]), (labels, labels)),
        groups=tuple(count_table((fine[group], expert[group]), (classes, experts)) for group in groups),
        cells=count_table((fine[known], cells(routing, coarse_probability)[known]), (classes, experts * labels)),
        load=count_table((expert, predicted), (experts, labels)),
        mean_entropy=float(routing_entropy(routing).mean()),
    )
    return counts.scores(coarse_labels)


def count_table(places: tuple[Integers, ...], shape: tuple[int, ...]) -> Table:
    """Return the number of images of each combination, int64 of ``shape``.

    Args:
        places: for each axis of the table, int [N], the index of each image along it.
        shape: the shape of the table.
    """
    table = np.zeros(shape, np.int64)
    np.add.at(table, places, 1)
    return table


def idle_experts(scores: Mapping[str, float], least: float = 0.01) -> list[int]:
    """Return the experts whose load, as given in the scores, is below ``least``."""
    loads = {key: value for key, value in scores.items() if key.startswith("expert_load/")}
    return [int(key.removeprefix("expert_load/")) for key, value in loads.items() if value < least]


class Reliability(NamedTuple):
    """Confidence and accuracy in B bins of equal width from 0 to 1.

    Args:
        images: int64 [B] number of images in each bin.
        confidence: float64 [B] their mean confidence, nan for an empty bin.
        accuracy: float64 [B] the share of them that is right, nan for an empty bin.
    """

    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error, 0 to 1: the mean gap of the bins, weighted by images (at least one)."""
        gap = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((self.images * gap).sum() / self.images.sum())


def reliability(confidence: Floats, right: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> Reliability:
    """Return how often predictions are right, by their confidence.

    Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599.

    Args:
        confidence: [N] probability of each prediction, 0 to 1; a bin includes its upper edge, as in the paper.
        right: bool [N] whether each prediction is right.
        bins: B, the number of bins.
    """
    # A float32 softmax may exceed 1 by its last bit.
    confidence = np.clip(confidence.astype(np.float64), 0, 1)
    place = calibration_bin(confidence, bins)
    images = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights, bins) for weights in (confidence, right.astype(np.float64))]
    with np.errstate(invalid="ignore"):
        mean_confidence, accuracy = (total / images for total in sums)
    return Reliability(images, mean_confidence, accuracy)


def calibration_bin(confidence: Floats, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Return the bin, 0 to ``bins`` - 1, of each confidence [N], int64 [N]; a bin includes its upper edge."""
    place = np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1
    bin_: NDArray[np.int64] = np.clip(place, 0, bins - 1)
    return bin_


def auroc(inliers: Floats, outliers: Floats) -> float:
    """Return the area under the ROC curve with which a confidence separates inliers from outliers, 0 to 1.

    It is the probability that an inlier is more confident than an outlier, ties counting half: 0.5 is chance, 1 is
    perfect (Hendrycks and Gimpel, arXiv:1610.02136).

    Args:
        inliers: [N] confidence in images like those the model was trained on, N at least 1.
        outliers: [M] confidence in images of another kind, M at least 1.
    """
    known = np.repeat([True, False], [len(inliers), len(outliers)])
    return float(roc_auc_score(known, np.concatenate([inliers, outliers])))
