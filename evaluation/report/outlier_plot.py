"""The report's plot of outliers: whether the model's confidence sets them apart."""

import numpy as np
from matplotlib.figure import Figure

from evaluation.report.outliers import OUTLIER_SCORES, Outliers
from evaluation.report.plots import LIGHT, Theme, new_figure

BINS = 40


def outlier_plot(outliers: Outliers, theme: Theme = LIGHT) -> Figure:
    """Plot the first score of ``OUTLIER_SCORES`` of the evaluated images and of the outliers."""
    key = next(iter(outliers.inliers))
    sides = (outliers.inliers[key], outliers.outliers[key])
    both = np.concatenate(sides)
    bins = np.linspace(both.min(), max(both.max(), both.min() + 1e-6), BINS + 1).tolist()
    figure, axes = new_figure(3.2, theme)
    inside, outside = (np.full(len(values), 100 / len(values)) for values in sides)
    axes.hist(sides[0], bins, weights=inside, color=theme.all_images, label=f"{len(inside):,} evaluated images")
    name = f"{len(outside):,} outliers"
    axes.hist(sides[1], bins, weights=outside, histtype="step", linewidth=2, color=theme.failures, label=name)
    axes.set(xlabel=OUTLIER_SCORES[key].title.lower(), ylabel="share of each", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}%")
    figure.legend(frameon=False, labelcolor=theme.ink, fontsize=11, loc="outside upper left", ncols=2)
    return figure
