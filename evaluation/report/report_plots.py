"""The plots of a report, in their order, and what is said of each."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from evaluation.report import plots
from evaluation.report.budget_plot import budget_plot
from evaluation.report.outlier_plot import outlier_plot
from evaluation.report.outliers import Outliers
from evaluation.report.reference_budget import DRAWS, ReferenceBudget
from evaluation.report.reliability_plots import class_reliability_plot, coarse_reliability_plot
from evaluation.report.scoring import Evaluated

OUTLIERS, BUDGET = "outliers.png", "reference_budget.png"

GROUP_TEXT = (
    "Images truly in {} by class (row) and expert (column). The diagonal is the best one-to-one matching; "
    "its share of all these images is the group accuracy."
)
RELIABILITY_TEXT = (
    "Accuracy of {} by its probability, in 15 bins; on the dashed line a probability is what it says. Below: how many "
    "images a bin holds, on a logarithmic axis; a bin of few says little."
)


class Plot(NamedTuple):
    """One plot of the report: its file, what is said about it, and how a theme's version is drawn."""

    file: str
    title: str
    text: str
    draw: Callable[[Evaluated, plots.Theme], Figure]


PLOTS = (
    Plot(
        "confusion.png",
        "Which class is taken for which",
        "Images of each true class (row) by the model's guess (column). Colour: share of the row, small ones "
        "brought out.",
        plots.confusion_plot,
    ),
    Plot(
        "failures.png",
        "Where the model is surest and wrong",
        "The wrong guesses of the highest probability, the surest first.",
        plots.failure_plot,
    ),
    Plot(
        "confusion_group_0.png",
        "Classes and experts within {0}",
        GROUP_TEXT.format("{0}"),
        partial(plots.group_plot, group=0),
    ),
    Plot(
        "confusion_group_1.png",
        "Classes and experts within {1}",
        GROUP_TEXT.format("{1}"),
        partial(plots.group_plot, group=1),
    ),
    Plot(
        "experts.png",
        "Which expert gets which class",
        "Percent of each true class (column) that is routed to each expert (row). Columns add up to 100.",
        plots.expert_plot,
    ),
    Plot(
        "certainty.png",
        "How certain the routing is",
        "Images by the probability of the expert they were routed to, on a logarithmic axis.",
        plots.certainty_plot,
    ),
    Plot(
        "reliability.png",
        "Whether the guess's probability is honest",
        RELIABILITY_TEXT.format("the guess"),
        class_reliability_plot,
    ),
    Plot(
        "reliability_coarse.png",
        "Whether the coarse label's probability is honest",
        RELIABILITY_TEXT.format("the coarse label"),
        coarse_reliability_plot,
    ),
)
COARSE_FILES = ("confusion_group_1.png", "reliability_coarse.png")  # of two coarse labels alone
PLOT_FILES = {OUTLIERS, BUDGET, *(plot.file for plot in PLOTS)}


def plots_of(evaluation: Evaluated) -> Iterator[Plot]:
    """Yield the plots of an evaluation; those of what was not asked for or does not exist are left out."""
    divided = evaluation.grouping.divided
    yield from (plot for plot in PLOTS if divided or plot.file not in COARSE_FILES)
    if evaluation.outliers is not None:
        yield _outlier_plot(evaluation.outliers)
    if evaluation.budget is not None:
        yield _budget_plot(evaluation.budget, evaluation.scores["class_accuracy"])


def _outlier_plot(outliers: Outliers) -> Plot:
    return Plot(
        OUTLIERS,
        "How the confidence sets outliers apart",
        "The first score of the table below, of the evaluated images and of the outliers; each side adds up to "
        "100%, on a logarithmic axis.",
        lambda _, theme: outlier_plot(outliers, theme),
    )


def _budget_plot(budget: ReferenceBudget, shipped: float) -> Plot:
    return Plot(
        BUDGET,
        "What labelled images are worth",
        f"Class accuracy with a class map fitted on so many labelled training images of each class: {DRAWS} random "
        "draws of each number.",
        lambda _, theme: budget_plot(budget, shipped, theme),
    )
