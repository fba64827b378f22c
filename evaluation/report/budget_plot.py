"""The report's plot of class accuracy against labelled images of each class."""

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from evaluation.report.plots import LIGHT, Theme, new_figure
from evaluation.report.reference_budget import DRAWS, ReferenceBudget

MARGIN = 0.005  # of accuracy; the least that the axis shows around the curve, so that it does not magnify noise


def budget_plot(budget: ReferenceBudget, shipped: float, theme: Theme = LIGHT) -> Figure:
    """Plot the mean accuracy of each budget within a band from the least to the greatest.

    Args:
        budget: what was measured.
        shipped: the accuracy with the bundle's own class map, 0 to 1.
        theme: the colours.
    """
    rows = budget.rows()
    means, least, most = ([row[key] for row in rows] for key in ("mean", "min", "max"))
    figure, axes = new_figure(3.2, theme)
    axes.fill_between(budget.per_class, least, most, color=theme.all_images, alpha=0.5, linewidth=0)
    axes.plot(budget.per_class, means, color=theme.high, marker="o", label=f"mean and range of {DRAWS} draws")
    axes.axhline(shipped, color=theme.failures, linestyle="--", label="bundle's class map")
    axes.set_ylim(min(*least, shipped) - MARGIN, max(*most, shipped) + MARGIN)
    axes.set(xscale="log", xlabel="labelled training images of each class", ylabel="class accuracy")
    axes.set_xticks(budget.per_class, [f"{images:,}" for images in budget.per_class])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(frameon=False, labelcolor=theme.ink, fontsize=10, loc="outside upper left", ncols=2)
    return figure
