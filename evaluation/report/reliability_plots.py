"""The report's reliability diagrams: whether a probability is what it says."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clustnet.scores.scores import Reliability
from evaluation.report.plots import LIGHT, Theme, blank_figure, styled
from evaluation.report.scoring import Evaluated


def class_reliability_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot the guesses' accuracy in each bin of their probability, above the number of images in the bin."""
    return reliability_plot(evaluation.tally.class_reliability, theme)


def coarse_reliability_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot the coarse labels' accuracy in each bin of their probability, above the number of images in it."""
    return _reliability_plot(evaluation.tally.coarse_reliability, "probability of the coarse label", theme)


def _reliability_plot(found: Reliability, label: str, theme: Theme) -> Figure:
    figure = blank_figure(4.4, theme)
    upper, lower = (styled(axes, theme) for axes in figure.subplots(2, sharex=True, height_ratios=(3, 1)))
    edges = np.linspace(0, 1, len(found.images) + 1)
    _bars(upper, edges, np.nan_to_num(found.accuracy), theme)
    upper.plot([0, 1], [0, 1], color=theme.failures, linestyle="--", linewidth=1.5)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    upper.set_title(f"calibration error {found.error:.4f}", loc="left", color=theme.ink, fontsize=11)
    _bars(lower, edges, found.images, theme)
    lower.set(xlabel=label, ylabel="images", yscale="log")
    lower.set_ylim(bottom=0.7)
    lower.yaxis.set_major_formatter("{x:,.0f}")
    return figure


def _bars(axes: Axes, edges: NDArray[np.float64], heights: NDArray[np.number], theme: Theme) -> None:
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=theme.all_images, edgecolor=theme.paper)


def reliability_plot(found: Reliability, theme: Theme = LIGHT) -> Figure:
    """Plot what ``class_reliability_plot`` does, of what is found already."""
    return _reliability_plot(found, "probability of the guess", theme)
