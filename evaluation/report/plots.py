"""The report's plots, each a figure in the colours of a theme."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from clustnet.scores.reference_budget import ReferenceBudget
from clustnet.scores.scores import Reliability
from clustnet.scores.tally import CERTAINTY_BINS, Mistake, group_confusion
from evaluation.report.figures import (
    LIGHT,
    WIDTH_INCHES,
    Theme,
    add_legend,
    blank_figure,
    heatmap,
    new_figure,
    share_of,
    short,
    styled,
)
from evaluation.report.outliers import OUTLIER_SCORES, Outliers
from evaluation.report.scoring import Evaluated

UNKNOWN_NAME = "not known"
TRUE_CLASS, TRUE_COARSE = "true class", "true coarse label"
# The size of an image with its caption, relative to the image's side.
FAILURE_WIDTH, FAILURE_HEIGHT = 1.15, 1.78
OUTLIER_BINS = 40
# In accuracy; the axis shows at least this much around the curve, so that it does not magnify noise.
BUDGET_MARGIN = 0.005
SUBTYPE_INCHES = 0.27


def confusion_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot true class against guess over all classes; colours show each entry's share of its row."""
    return confusion_heatmap(evaluation.tally.confusion, evaluation.info.class_names, (TRUE_CLASS, "guess"), theme)


def coarse_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot true coarse label against the predicted one; colours show each entry's share of its row."""
    labels = evaluation.info.grouping.labels
    axes = (TRUE_COARSE, "predicted coarse label")
    return confusion_heatmap(evaluation.tally.coarse_confusion, labels, axes, theme)


def confusion_heatmap(
    table: NDArray[np.int64], names: tuple[str, ...], labels: tuple[str, str], theme: Theme = LIGHT
) -> Figure:
    """Plot a square table of counts; colours show each entry's share of its row.

    Args:
        table: int64 [C, C] of counts.
        names: the names of its rows and columns.
        labels: the labels of the axes, the vertical one first.
        theme: the colours.
    """
    return heatmap(table, share_of(table, axis=1), names, names, labels, theme)


def group_plot(evaluation: Evaluated, theme: Theme = LIGHT, *, group: int) -> Figure:
    """Plot true class against expert among the images of one coarse label, the best matching along the diagonal."""
    found = group_confusion(evaluation.tally, evaluation.info.grouping.groups[group])
    rows = [evaluation.info.class_names[index] for index in found.classes]
    columns = [str(expert) for expert in found.experts]
    return heatmap(found.table, share_of(found.table, axis=1), rows, columns, (TRUE_CLASS, "expert"), theme)


def subtype_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot how many images each subtype is guessed for, split by whether their coarse label is the subtype's."""
    names, grouping = evaluation.info.class_names, evaluation.info.grouping
    table, own = evaluation.tally.subtypes, grouping.coarse(np.arange(len(names)))
    right = table[own, np.arange(len(names))]
    unknown = table[-1]
    parts = [
        ("of the subtype's coarse label" if grouping.divided else "images", right, theme.high),
        ("of another coarse label", table[:-1].sum(axis=0) - right, theme.failures),
        (f"coarse label {UNKNOWN_NAME}", unknown, theme.all_images),
    ]
    figure, axes = new_figure(1.1 + SUBTYPE_INCHES * len(names), theme)
    left = np.zeros(len(names), np.int64)
    for label, counts, colour in parts:
        if counts.any():
            axes.barh(range(len(names)), counts, left=left, color=colour, label=label, height=0.8)
            left = left + counts
    for place, total in enumerate(left.tolist()):
        axes.annotate(f"{total:,}", (total, place), (3, 0), textcoords="offset points", va="center", color=theme.muted)
    axes.set_yticks(range(len(names)), list(map(short, names)), parse_math=False, fontsize=10)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, 1.15 * max(1, left.max())), xlabel="images")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if grouping.divided:
        add_legend(figure, theme)
    return figure


def expert_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot the percentage of each class's images that each expert gets; of each coarse label's if no class is known."""
    tally = evaluation.tally
    table, names, label = tally.class_experts.T, evaluation.info.class_names, TRUE_CLASS
    if not tally.known_classes:
        table, names, label = tally.experts[:-1].T, evaluation.info.grouping.labels, TRUE_COARSE
    share = share_of(table, axis=0)
    loads = tally.routing_counts().load.sum(axis=1) / len(tally)
    rows = [f"{expert}  ({load:.0%})" for expert, load in enumerate(loads)]
    percent = np.rint(100 * share).astype(np.int64)
    return heatmap(percent, share, rows, names, ("expert (load)", label), theme)


def certainty_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot how probable the chosen expert was, over all images and over the wrong guesses."""
    images, wrong = evaluation.tally.certainty
    figure, axes = new_figure(3.2, theme)
    edges = np.linspace(0, 1, CERTAINTY_BINS + 1)
    place: dict[str, Any] = {"x": edges[:-1], "width": np.diff(edges), "align": "edge"}
    axes.bar(height=images, color=theme.all_images, label=f"all {images.sum():,} images", **place)
    if wrong.any():
        axes.bar(height=wrong, color=theme.failures, label=f"{wrong.sum():,} wrong guesses", **place)
    axes.set(xlim=(0, 1), yscale="log", xlabel="probability of the chosen expert", ylabel="images")
    axes.set_ylim(bottom=0.7)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    add_legend(figure, theme)
    return figure


def failure_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Show the wrong guesses that the model was surest of, the surest first."""
    failures, info = evaluation.tally.mistakes, evaluation.info
    truths = (*info.class_names, *info.grouping.labels)
    names = [(truths[failure.truth], info.class_names[failure.guess]) for failure in failures]
    columns, most = (4, 12) if max((len(name) for pair in names for name in pair), default=0) > 10 else (5, 10)
    rows = max(1, -(-len(failures) // columns))
    left, right, bottom = 1 - FAILURE_WIDTH, columns * FAILURE_WIDTH, rows * FAILURE_HEIGHT
    figure, axes = new_figure(WIDTH_INCHES * bottom / (right - left), theme)
    axes.set_axis_off()
    scale = theme.drawings if info.input.preparation == "mnist" else "gray"
    for place, (failure, (truth, guess)) in enumerate(zip(failures, names, strict=True)):
        row, column = divmod(place, columns)
        corner = column * FAILURE_WIDTH, row * FAILURE_HEIGHT
        axes.imshow(failure.image, cmap=scale, vmin=0, vmax=255, extent=_square(*corner))
        _write_caption(axes, failure, (short(truth, most), short(guess, most)), corner, theme)
    if not failures:
        axes.text(0.5, 0.5, "no wrong guesses", color=theme.muted, ha="center", transform=axes.transAxes)
    axes.set(xlim=(left, right), ylim=(bottom, 0), aspect="equal")
    return figure


def _square(x: float, y: float) -> tuple[float, float, float, float]:
    """Return matplotlib's extent of the image with this upper left corner."""
    return x, x + 1, y + 1, y


def _write_caption(
    axes: Axes, failure: Mistake, names: tuple[str, str], corner: tuple[float, float], theme: Theme
) -> None:
    """Write the truth, the guess and its probability below an image."""
    x, y = corner
    truth, guess = names
    lines = ((f"true {truth}", theme.ink), (f"guess {guess}", theme.failures))
    for line, (text, colour) in enumerate((*lines, (f"{failure.probability:.1%}", theme.failures))):
        height = y + 1.04 + 0.19 * line
        axes.text(x + 0.5, height, text, color=colour, ha="center", va="top", fontsize=8, parse_math=False)


def reliability_plot(found: Reliability, label: str, theme: Theme = LIGHT) -> Figure:
    """Plot the accuracy in each bin of a probability, above the number of images in the bin.

    Args:
        found: what is plotted.
        label: what the probability is.
        theme: the colours.
    """
    figure = blank_figure(4.4, theme)
    upper, lower = (styled(axes, theme) for axes in figure.subplots(2, sharex=True, height_ratios=(3, 1)))
    edges = np.linspace(0, 1, len(found.images) + 1)
    _draw_bars(upper, edges, np.nan_to_num(found.accuracy), theme)
    upper.plot([0, 1], [0, 1], color=theme.failures, linestyle="--", linewidth=1.5)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    upper.set_title(f"calibration error {found.error:.4f}", loc="left", color=theme.ink, fontsize=11)
    _draw_bars(lower, edges, found.images, theme)
    lower.set(xlabel=label, ylabel="images", yscale="log")
    lower.set_ylim(bottom=0.7)
    lower.yaxis.set_major_formatter("{x:,.0f}")
    return figure


def _draw_bars(axes: Axes, edges: NDArray[np.float64], heights: NDArray[np.number], theme: Theme) -> None:
    """Draw a bar from each edge to the next."""
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=theme.all_images, edgecolor=theme.paper)


def outlier_plot(outliers: Outliers, theme: Theme = LIGHT) -> Figure:
    """Plot how the first score of ``OUTLIER_SCORES`` is distributed over the evaluated images and over the outliers."""
    key = next(iter(outliers.inliers))
    groups = (outliers.inliers[key], outliers.outliers[key])
    both = np.concatenate(groups)
    bins = np.linspace(both.min(), max(both.max(), both.min() + 1e-6), OUTLIER_BINS + 1).tolist()
    figure, axes = new_figure(3.2, theme)
    inside, outside = (np.full(len(values), 100 / len(values)) for values in groups)
    axes.hist(groups[0], bins, weights=inside, color=theme.all_images, label=f"{len(inside):,} evaluated images")
    name = f"{len(outside):,} outliers"
    axes.hist(groups[1], bins, weights=outside, histtype="step", linewidth=2, color=theme.failures, label=name)
    axes.set(xlabel=OUTLIER_SCORES[key].title.lower(), ylabel="share of each", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}%")
    add_legend(figure, theme)
    return figure


def budget_plot(budget: ReferenceBudget, shipped: float, theme: Theme = LIGHT) -> Figure:
    """Plot the mean accuracy of each budget within a band from the least to the greatest.

    Args:
        budget: what was measured.
        shipped: the accuracy with the bundle's own class map, 0 to 1.
        theme: the colours.
    """
    rows = budget.rows()
    least, greatest = [row.least for row in rows], [row.greatest for row in rows]
    figure, axes = new_figure(3.2, theme)
    axes.fill_between(budget.per_class, least, greatest, color=theme.all_images, alpha=0.5, linewidth=0)
    label = f"mean and range of {budget.draws} draws"
    axes.plot(budget.per_class, [row.mean for row in rows], color=theme.high, marker="o", label=label)
    axes.axhline(shipped, color=theme.failures, linestyle="--", label="bundle's class map")
    axes.set_ylim(min(*least, shipped) - BUDGET_MARGIN, max(*greatest, shipped) + BUDGET_MARGIN)
    axes.set(xscale="log", xlabel="labelled training images of each class", ylabel="class accuracy")
    axes.set_xticks(budget.per_class, [f"{images:,}" for images in budget.per_class])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    add_legend(figure, theme)
    return figure
