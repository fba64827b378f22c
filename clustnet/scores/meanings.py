"""What each score is called in the report and what it means."""

import math
from typing import NamedTuple


class Meaning(NamedTuple):
    """A score's title and explanation; ``percent`` for a share of images."""

    title: str
    text: str
    percent: bool = False


MEANINGS = {
    "class_accuracy": Meaning(
        "Class accuracy",
        "Guesses that are the true class. The class map behind them was fitted on reference images of the "
        "training split, never on these images.",
        percent=True,
    ),
    "binary_accuracy": Meaning(
        "Coarse accuracy", "Images whose coarse label, all that training saw, is right.", percent=True
    ),
    "group_accuracy": Meaning(
        "Group accuracy {}",
        "Among the images truly in this group: those in the class that the best one-to-one matching "
        "(Hungarian) gives their expert.",
        percent=True,
    ),
    "cell_accuracy": Meaning(
        "Cell accuracy",
        "Over all images: those in the class that the best one-to-one matching (Hungarian) gives their cell, "
        "one expert with one predicted coarse label.",
        percent=True,
    ),
    "nmi": Meaning(
        "NMI",
        "Normalised mutual information (arithmetic mean) of cells and classes: 0 independent, 1 the same.",
    ),
    "ari": Meaning("ARI", "Adjusted Rand index of cells and classes: 0 as by chance, 1 the same."),
    "expert_load": Meaning("Load of expert {}", "Images routed to this expert.", percent=True),
    "routing_entropy": Meaning(
        "Routing entropy",
        "Mean entropy of the routing distribution in nats: 0 when every image goes to one expert alone.",
    ),
    "mean_class_probability": Meaning(
        "Mean class probability",
        "Mean probability of the guess; well calibrated when near class accuracy.",
        percent=True,
    ),
    "negative_log_likelihood": Meaning("Negative log-likelihood", "Mean of -ln P(true class) in nats; 0 is perfect."),
    "calibration_error": Meaning(
        "Calibration error",
        "Expected calibration error of the guess (Guo et al., arXiv:1706.04599): the mean gap between its probability "
        "and its accuracy over 15 bins of equal width; 0 is perfect.",
    ),
    "binary_calibration_error": Meaning(
        "Coarse calibration error", "The same of the predicted coarse label and its probability."
    ),
    "abstained": Meaning(
        "Abstained",
        "Images for which the model's confidence is under its threshold; the scores above count them as well.",
        percent=True,
    ),
}


def meaning(score: str) -> Meaning:
    """Return what the score of this key, as ``nmi`` or ``expert_load/3``, means."""
    family, _, member = score.partition("/")
    found = MEANINGS[family]
    return found._replace(title=found.title.format(member))


def shown(score: str, value: float) -> str:
    """Return a score's value as the report shows it: a percentage, or four decimals."""
    if math.isnan(value):
        return "-"
    return f"{value:.2%}" if meaning(score).percent else f"{value:.4f}"
