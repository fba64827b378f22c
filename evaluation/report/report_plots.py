"""The plots of a report, in their order, and what is said of each."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from clustnet.scores.reference_budget import ReferenceBudget
from evaluation.report import plots
from evaluation.report.figures import Theme
from evaluation.report.outliers import Outliers
from evaluation.report.scoring import Evaluated

CONFUSION, SUBTYPES, COARSE, FAILURES = "confusion.png", "subtypes.png", "confusion_coarse.png", "failures.png"
EXPERTS, CERTAINTY, RELIABILITY = "experts.png", "certainty.png", "reliability.png"
COARSE_RELIABILITY, OUTLIERS, BUDGET = "reliability_coarse.png", "outliers.png", "reference_budget.png"
PLOT_FILES = frozenset(
    (CONFUSION, SUBTYPES, COARSE, FAILURES, EXPERTS, CERTAINTY, RELIABILITY, COARSE_RELIABILITY, OUTLIERS, BUDGET)
)
GROUP_FILE = re.compile(r"confusion_group_\d+\.png")

RELIABILITY_TEXT = (
    "Accuracy of {} by its probability, in 15 bins; on the dashed line the accuracy equals the probability. "
    "Below: how many images each bin holds, on a logarithmic axis; a bin with few images says little."
)


class Plot(NamedTuple):
    """One plot of the report: its file, what is said about it, and how a theme's version is drawn."""

    file: str
    title: str
    text: str
    draw: Callable[[Theme], Figure]


def is_plot(file: str) -> bool:
    """Return whether a report may have a plot of this file name."""
    return file in PLOT_FILES or GROUP_FILE.fullmatch(file) is not None


def plots_of(evaluation: Evaluated) -> Iterator[Plot]:
    """Yield the plots of an evaluation that the known truth allows, then the plots that were requested."""
    yield from _confusions(evaluation)
    yield from _routing(evaluation)
    yield from _reliabilities(evaluation)
    if evaluation.outliers is not None:
        yield _outliers(evaluation.outliers)
    if evaluation.budget is not None:
        yield _budget(evaluation.budget, evaluation.scores["class_accuracy"])


def _confusions(evaluation: Evaluated) -> Iterator[Plot]:
    """Yield the plots of what was mistaken for what."""
    tally, divided = evaluation.tally, evaluation.info.grouping.divided
    if tally.known_classes:
        yield Plot(
            CONFUSION,
            "Which class is mistaken for which",
            "Images of each true class (row) by the model's guess (column). Colour: share of the row, small ones "
            "brought out.",
            partial(plots.confusion_plot, evaluation),
        )
    if tally.known_classes < len(tally):
        yield Plot(
            SUBTYPES,
            "How large each subtype is",
            f"Images by the guessed subtype{'; those of another coarse label do not belong there' if divided else ''}.",
            partial(plots.subtype_plot, evaluation),
        )
    if divided and tally.known_coarse:
        yield Plot(
            COARSE,
            "Which coarse label is mistaken for which",
            "Images of each true coarse label (row) by the predicted one (column). Colour: share of the row.",
            partial(plots.coarse_plot, evaluation),
        )
    if tally.known_classes or (divided and tally.known_coarse):
        unknown = " Where the true class is not known, a guess of another coarse label is wrong."
        yield Plot(
            FAILURES,
            "Where the model is surest and wrong",
            "The wrong guesses with the highest probability, the surest first."
            + (unknown if tally.known_classes < len(tally) else ""),
            partial(plots.failure_plot, evaluation),
        )


def _routing(evaluation: Evaluated) -> Iterator[Plot]:
    """Yield the plots of which expert gets which images, and how certainly."""
    tally, grouping = evaluation.tally, evaluation.info.grouping
    for group, (label, classes) in enumerate(zip(grouping.labels, grouping.groups, strict=True)):
        if tally.class_experts[list(classes)].any():
            within = f" of {label}" if grouping.divided else ""
            score = "group accuracy" if grouping.divided else "cell accuracy"
            yield Plot(
                f"confusion_group_{group}.png",
                f"Classes and experts within {label}" if grouping.divided else "Classes and experts",
                f"Images{within} by true class (row) and expert (column). The diagonal is the best one-to-one "
                f"matching; its share of all these images is the {score}.",
                partial(plots.group_plot, evaluation, group=group),
            )
    if tally.known_classes or (grouping.divided and tally.known_coarse):
        what = "class" if tally.known_classes else "coarse label"
        yield Plot(
            EXPERTS,
            f"Which expert gets which {what}",
            f"Percent of each true {what} (column) that is routed to each expert (row); columns add up to 100. An "
            "expert's load is its share of all images.",
            partial(plots.expert_plot, evaluation),
        )
    yield Plot(
        CERTAINTY,
        "How certain the routing is",
        "Images by the probability of the expert they were routed to, on a logarithmic axis.",
        partial(plots.certainty_plot, evaluation),
    )


def _reliabilities(evaluation: Evaluated) -> Iterator[Plot]:
    """Yield the plots of whether the probabilities are reliable."""
    tally = evaluation.tally
    if tally.known_classes:
        yield Plot(
            RELIABILITY,
            "Whether the guess's probability is honest",
            RELIABILITY_TEXT.format("the guess"),
            partial(plots.reliability_plot, tally.class_reliability, "probability of the guess"),
        )
    if evaluation.info.grouping.divided and tally.known_coarse:
        yield Plot(
            COARSE_RELIABILITY,
            "Whether the coarse label's probability is honest",
            RELIABILITY_TEXT.format("the coarse label"),
            partial(plots.reliability_plot, tally.coarse_reliability, "probability of the coarse label"),
        )


def _outliers(outliers: Outliers) -> Plot:
    """Return the plot of outliers."""
    return Plot(
        OUTLIERS,
        "How the confidence separates outliers",
        "The first score of the table below, of the evaluated images and of the outliers; each adds up to 100%, on a "
        "logarithmic axis.",
        partial(plots.outlier_plot, outliers),
    )


def _budget(budget: ReferenceBudget, shipped: float) -> Plot:
    """Return the plot of the reference budget."""
    return Plot(
        BUDGET,
        "What labelled images are worth",
        "Class accuracy with a class map fitted on the given number of labelled training images of "
        f"each class: {budget.draws} "
        "random draws of each number.",
        partial(plots.budget_plot, budget, shipped),
    )
