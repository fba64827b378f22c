"""The registry of scores: name, title, meaning, protocol, required truth and formula of each.

Reports, summaries, model cards, manifests and tables of runs take names and sentences from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from clustnet.bundles.routing import routing_entropy
from clustnet.scores.scores import RoutingCounts, reliability
from clustnet.scores.tables import ari, matched_share, nmi, purity

Truth = Literal["nothing", "fine", "coarse"]


@dataclass(frozen=True)
class ScoreDefinition:
    """One score, or one family of scores such as ``group_accuracy/LABEL``.

    Args:
        name: its key in tables and JSON; a part in capitals after the slash stands for any name or number.
        title: the name that a person reads; ``{}`` stands for the part after the slash.
        meaning: its meaning, in a plain sentence.
        protocol: how it is measured, in a few words.
        needs: the truth that it is measured against: ``fine`` classes, ``coarse`` labels, or ``nothing``.
        divided: whether it is meaningful only if there are several coarse labels.
        percent: whether it is a share of images, shown in percent.
        whole: whether it is a whole number.
        formula: the function that computes it, or the name of the one that does.
    """

    name: str
    title: str
    meaning: str
    protocol: str
    needs: Truth
    formula: Callable[..., object] | str
    divided: bool = False
    percent: bool = False
    whole: bool = False


CALIBRATION = (
    "the mean gap between probability and accuracy over 15 bins of equal width (expected calibration error, "
    "Guo et al., arXiv:1706.04599); 0 is perfect."
)
MATCHING = "the class that the best one-to-one matching (Hungarian) gives"

DEFINITIONS = (
    ScoreDefinition(
        "class_accuracy",
        "Class accuracy",
        "The share of images whose guess is the true class. The class map behind the guess may give several cells one "
        "class; it was fitted on reference images, never on these images.",
        "guess against true class",
        "fine",
        "clustnet.scores.tally.scores_of",
        percent=True,
    ),
    ScoreDefinition(
        "coarse_accuracy",
        "Coarse accuracy",
        "The share of images whose coarse label, which is all that training saw, is right.",
        "most probable coarse label against the true one",
        "coarse",
        RoutingCounts.scores,
        divided=True,
        percent=True,
    ),
    ScoreDefinition(
        "group_accuracy/LABEL",
        "Group accuracy {}",
        f"Among the images of this true coarse label, the share in {MATCHING} their expert.",
        "Hungarian matching of experts to the fine classes of one true coarse label",
        "fine",
        matched_share,
        divided=True,
        percent=True,
    ),
    ScoreDefinition(
        "cell_accuracy",
        "Cell accuracy",
        f"The share of all images in {MATCHING} their cell, one expert with one predicted coarse label; cells "
        "beyond the classes count as wrong.",
        "Hungarian matching of cells to fine classes",
        "fine",
        matched_share,
        percent=True,
    ),
    ScoreDefinition(
        "purity",
        "Purity",
        "The share of images in the most frequent class of their cell: how good a class map could be, where several "
        "cells may share a class. It rises with the number of cells.",
        "many cells to one class, by the scored images themselves",
        "fine",
        purity,
        percent=True,
    ),
    ScoreDefinition(
        "cells_in_use",
        "Cells in use",
        "The number of cells with at least 1 % of the images of their predicted coarse label.",
        "most probable expert and coarse label",
        "nothing",
        RoutingCounts.scores,
        whole=True,
    ),
    ScoreDefinition(
        "nmi",
        "NMI",
        "The normalised mutual information (arithmetic mean) of cells and classes: 0 is independent, 1 is the same.",
        "no matching",
        "fine",
        nmi,
    ),
    ScoreDefinition(
        "ari",
        "ARI",
        "The adjusted Rand index of cells and classes: 0 is chance level, 1 is the same.",
        "no matching",
        "fine",
        ari,
    ),
    ScoreDefinition(
        "expert_load/EXPERT",
        "Load of expert {}",
        "The share of images that are routed to this expert.",
        "most probable expert",
        "nothing",
        RoutingCounts.scores,
        percent=True,
    ),
    ScoreDefinition(
        "routing_entropy",
        "Routing entropy",
        "The mean entropy of the routing distribution in nats: 0 means that every image goes to one expert alone.",
        "mean over the images, in nats",
        "nothing",
        routing_entropy,
    ),
    ScoreDefinition(
        "mean_class_probability",
        "Mean class probability",
        "The mean probability of the guess. It is near the class accuracy where the model is well calibrated.",
        "mean over the images",
        "nothing",
        "clustnet.scores.tally.scores_of",
        percent=True,
    ),
    ScoreDefinition(
        "negative_log_likelihood",
        "Negative log-likelihood",
        "The mean of -ln P(true class) in nats; 0 is perfect.",
        "probabilities under 1e-12 count as that",
        "fine",
        "clustnet.scores.tally.scores_of",
    ),
    ScoreDefinition(
        "calibration_error",
        "Calibration error",
        f"Of the guess, {CALIBRATION}",
        "15 bins of the guess's probability",
        "fine",
        reliability,
    ),
    ScoreDefinition(
        "coarse_calibration_error",
        "Coarse calibration error",
        f"Of the predicted coarse label, {CALIBRATION}",
        "15 bins of the coarse label's probability",
        "coarse",
        reliability,
        divided=True,
    ),
    ScoreDefinition(
        "abstained",
        "Abstained",
        "The share of images whose confidence is under the model's threshold. The other scores count these images too.",
        "share of images under the confidence threshold, which was fitted on training images",
        "nothing",
        "clustnet.bundles.bundle.Abstention.refuses",
        percent=True,
    ),
    ScoreDefinition(
        "class_accuracy_without_abstained",
        "Class accuracy where the model answered",
        "The share of images whose guess is the true class, among those that the model did not abstain from.",
        "guess against true class",
        "fine",
        "evaluation.feedback.scoring.FeedbackScores.accuracy_without_abstained",
        percent=True,
    ),
    ScoreDefinition(
        "label_free/score",
        "Label-free score",
        "The log-likelihood of the coarse labels plus the mutual information; it needs no fine class, and higher is "
        "better. It compares runs with the same augmentation and as many experts.",
        "at most 10,000 evenly spaced images and one random view of each",
        "nothing",
        "training.runs.label_free.LabelFree.score",
    ),
    ScoreDefinition(
        "label_free/mutual_information",
        "Label-free mutual information",
        "The mutual information between the experts of an image and of a random view of it, in nats, summed over the "
        "coarse labels.",
        "at most 10,000 evenly spaced images and one random view of each",
        "nothing",
        "training.runs.label_free.label_free",
    ),
    ScoreDefinition(
        "label_free/coarse_accuracy",
        "Label-free coarse accuracy",
        "The share of the images behind the label-free score whose coarse label is right.",
        "at most 10,000 evenly spaced images",
        "coarse",
        "training.runs.label_free.label_free",
        divided=True,
        percent=True,
    ),
)
_BY_NAME = {found.name: found for found in DEFINITIONS}
_BY_FAMILY = {found.name.partition("/")[0]: found for found in DEFINITIONS if found.name.partition("/")[2].isupper()}


def definition(score: str) -> ScoreDefinition:
    """Return the definition of a score by its key, such as ``nmi`` or ``expert_load/3``.

    Raises:
        KeyError: there is no such score.
    """
    return _BY_NAME[score] if score in _BY_NAME else _BY_FAMILY[score.partition("/")[0]]


def title(score: str) -> str:
    """Return the title that a person reads for a score's key, such as ``Load of expert 3``."""
    return definition(score).title.format(score.partition("/")[2])


def shown(score: str, value: float) -> str:
    """Return a score's value as reports show it: a percentage, a whole number, or four decimals."""
    found = definition(score)
    return f"{value:.2%}" if found.percent else f"{value:.{0 if found.whole else 4}f}"
