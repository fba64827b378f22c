"""The pictures of a run: the matrix of accuracies as a heat map, and the learning curves."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from training.pictures.figures import save

DPI = 150
# Accuracy above which a cell of the heat map is so dark that its text is white.
DARK = 0.5


def draw_matrix(matrix: NDArray[np.float64], nodes: Sequence[str], path: Path) -> None:
    """Draw the accuracy of each node after each step.

    Args:
        matrix: [T, T], NaN where a node was not learnt yet.
        nodes: the T nodes in the order in which they were learnt.
        path: the PNG to write.
    """
    size = 2.5 + 0.9 * len(nodes)
    figure = Figure(figsize=(size + 1.5, size), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    drawn = axes.imshow(matrix, vmin=0, vmax=1, cmap="Blues")
    for step, node in np.argwhere(~np.isnan(matrix)).tolist():
        value = matrix[step, node]
        colour = "white" if value > DARK else "black"
        axes.text(node, step, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(nodes)), nodes, rotation=30, ha="right")
    axes.set_yticks(range(len(nodes)), [f"{number}: {node}" for number, node in enumerate(nodes, 1)])
    axes.set(xlabel="Node that is scored", ylabel="After learning", title="Accuracy on test images")
    figure.colorbar(drawn, ax=axes, label="Accuracy", shrink=0.8)
    save(figure, path, DPI)


def draw_curves(curves: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the accuracy of each node while it is learnt, on its batches and on validation images."""
    nodes = list(dict.fromkeys(row["node"] for row in curves))
    if not nodes:
        return
    across = math.ceil(math.sqrt(len(nodes)))
    down = math.ceil(len(nodes) / across)
    figure = Figure(figsize=(1.2 + 3.4 * across, 0.8 + 2.8 * down), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, squeeze=False, sharey=True).flat
    for axes, node in zip(panels, nodes, strict=False):
        rows = [row for row in curves if row["node"] == node]
        epochs = [row["epoch"] for row in rows]
        axes.plot(epochs, [row["accuracy"] for row in rows], marker="o", markersize=3, label="training batches")
        axes.plot(epochs, [row["validation_accuracy"] for row in rows], marker="o", markersize=3, label="validation")
        axes.set(title=node, xlabel="Epoch", ylim=(0, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in list(figure.axes)[len(nodes) :]:
        axes.set_visible(False)
    figure.axes[0].set_ylabel("Accuracy")
    figure.axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    save(figure, path, DPI)
