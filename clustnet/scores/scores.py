"""Scores against the truth: accuracy, clustering accuracy, NMI, ARI, load, entropy, calibration, AUROC."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, roc_auc_score
from sklearn.metrics.cluster import contingency_matrix

from clustnet.bundles.groups import CoarseGrouping
from clustnet.bundles.routing import routing_entropy
from clustnet.datasets.labelled import UNKNOWN

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

CALIBRATION_BINS = 15


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
    return matched_share(contingency_matrix(classes, clusters)) if len(clusters) else float("nan")


def matched_share(table: NDArray[np.int64]) -> float:
    """Return ``clustering_accuracy`` of int64 [classes, clusters] counts; nan without images."""
    if not table.sum():
        return float("nan")
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def clustering_scores(clusters: Integers, classes: Integers) -> dict[str, float]:
    """Score clusters against the true classes.

    Args:
        clusters: [N] cluster of each image.
        classes: [N] true class of each image.

    Returns:
        ``accuracy``, see ``clustering_accuracy``; ``nmi`` (arithmetic mean); and ``ari``. All are nan for no images.
    """
    some = len(clusters) > 0
    return {
        "accuracy": clustering_accuracy(clusters, classes),
        "nmi": float(normalized_mutual_info_score(classes, clusters)) if some else float("nan"),
        "ari": float(adjusted_rand_score(classes, clusters)) if some else float("nan"),
    }


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
        fine: [N] true fine classes, ``UNKNOWN`` where they are not told.
        grouping: the fine classes behind each coarse label.

    Returns:
        ``binary_accuracy``; ``group_accuracy/LABEL``, the clustering accuracy of the experts among the
        images of one true coarse label, as the original ClustNet reports it; ``cell_accuracy``, ``nmi``
        (arithmetic mean) and ``ari`` of the cells against all fine classes; ``expert_load/E``; and
        ``routing_entropy``, the mean in nats. Without coarse labels the first two are left out; a cell is an expert.
        All but the last two are of the images whose class is told, nan where there are none.
    """
    known = fine != UNKNOWN
    experts, cell, fine = routing[known].argmax(axis=1), cells(routing, positive_probability)[known], fine[known]
    coarse, told = grouping.coarse(fine), bool(known.any())
    scores = {}
    if grouping.divided:
        right = (positive_probability[known] > 0.5) == coarse
        scores["binary_accuracy"] = float(right.mean()) if told else float("nan")
        for index, label in enumerate(grouping.labels):
            group = coarse == index
            scores[f"group_accuracy/{label}"] = clustering_accuracy(experts[group], fine[group])
    found = clustering_scores(cell, fine)
    scores |= {"cell_accuracy": found["accuracy"], "nmi": found["nmi"], "ari": found["ari"]}
    scores |= {f"expert_load/{e}": float(load) for e, load in enumerate(expert_load(routing))}
    scores["routing_entropy"] = float(routing_entropy(routing).mean())
    return scores


def idle_experts(scores: Mapping[str, float], least: float = 0.01) -> list[int]:
    """Return the experts whose load in ``routing_scores`` is under ``least``."""
    loads = {key: value for key, value in scores.items() if key.startswith("expert_load/")}
    return [int(key.removeprefix("expert_load/")) for key, value in loads.items() if value < least]


class Reliability(NamedTuple):
    """Confidence beside accuracy in B bins of equal width over 0 to 1.

    Args:
        images: int64 [B] images in each bin.
        confidence: float64 [B] their mean confidence, nan in an empty bin.
        accuracy: float64 [B] the share of them that is right, nan in an empty bin.
    """

    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error, 0 to 1: the bins' mean gap, weighted by images; nan for no images."""
        total = int(self.images.sum())
        gap = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((self.images * gap).sum() / total) if total else float("nan")


def reliability(confidence: Floats, right: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> Reliability:
    """Bin predictions by their confidence (Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599).

    Args:
        confidence: [N] probability of each prediction, 0 to 1; a bin holds its upper edge, as in the paper.
        right: bool [N] whether the prediction is true.
        bins: B, the number of bins.
    """
    confidence = np.clip(confidence.astype(np.float64), 0, 1)  # a float32 softmax may exceed 1 by its last bit
    place = calibration_bin(confidence, bins)
    images = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights, bins) for weights in (confidence, right.astype(np.float64))]
    with np.errstate(invalid="ignore"):
        mean_confidence, accuracy = (total / images for total in sums)
    return Reliability(images, mean_confidence, accuracy)


def calibration_bin(confidence: Floats, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Return the bin, 0 to ``bins`` - 1, of each confidence [N], int64 [N]; a bin holds its upper edge."""
    place = np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1
    bin_: NDArray[np.int64] = np.clip(place, 0, bins - 1)
    return bin_


def auroc(inliers: Floats, outliers: Floats) -> float:
    """Return the area under the ROC curve with which a confidence tells inliers from outliers.

    It is the probability that an inlier is more confident than an outlier, ties counting half: 0.5 is
    chance, 1 is perfect (Hendrycks and Gimpel, arXiv:1610.02136).

    Args:
        inliers: [N] confidence in images as the model knows them.
        outliers: [M] confidence in images of another kind.

    Returns:
        0 to 1; nan where one side holds no images.
    """
    if len(inliers) == 0 or len(outliers) == 0:
        return float("nan")
    known = np.repeat([True, False], [len(inliers), len(outliers)])
    return float(roc_auc_score(known, np.concatenate([inliers, outliers])))
