"""Which expert sees which class within each coarse label, as the original ClustNet drew it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.scores.scores import count_table
from training.pictures.figures import MUTED, grid

# The most panels, and the most rows or columns of one; shares are written only where there are not too many of these.
MOST_LABELS, MOST_ROWS, MOST_WRITTEN = 6, 40, 12
PANEL_INCHES, CELL_INCHES = 1.6, 0.42
# Shares above this are written in white, as their colour is dark.
DARK = 0.55


class Confusion(NamedTuple):
    """The images of one coarse label.

    Args:
        label: the name of the coarse label.
        classes: the names of its classes.
        experts: int64 [columns], the experts: first those that are matched with the classes, in their order.
        counts: int64 [classes, columns], the number of images by class and most probable expert.
        images: number of images.
    """

    label: str
    classes: list[str]
    experts: NDArray[np.int64]
    counts: NDArray[np.int64]
    images: int

    @property
    def matched(self) -> float:
        """The share of the images that are at the expert of their class."""
        return float(np.trace(self.counts) / self.images)


def confusions(images: LabelledImages, experts: NDArray[np.integer], count: int) -> list[Confusion]:
    """Return the confusion of classes and experts within each coarse label that has images of known classes.

    Args:
        images: the images; those whose class is not known do not count.
        experts: int [N], the most probable expert of each image.
        count: number of experts.
    """
    found = []
    for label, name in enumerate(images.coarse_labels):
        own = (images.coarse == label) & (images.fine != UNKNOWN)
        if own.any():
            table = count_table((images.fine[own], experts[own]), (len(images.classes), count))
            found.append(_confusion(name, images.classes, table))
    return found


def _confusion(label: str, classes: Sequence[str], table: NDArray[np.int64]) -> Confusion:
    """Return the confusion of a table of all classes and all experts, the best matching on its diagonal."""
    present = np.flatnonzero(table.any(axis=1))
    rows, columns = linear_sum_assignment(table[present], maximize=True)
    # Classes without an expert come last.
    order = np.concatenate([rows, np.setdiff1d(np.arange(len(present)), rows)])[:MOST_ROWS]
    used = table[present].sum(axis=0)
    others = [expert for expert in np.argsort(-used, kind="stable") if used[expert] and expert not in columns]
    experts = np.array([*columns, *others], np.int64)[:MOST_ROWS]
    counts = table[present[order]][:, experts]
    return Confusion(label, [classes[place] for place in present[order]], experts, counts, int(table.sum()))


def draw_confusion(found: Sequence[Confusion], epoch: int) -> Figure:
    """Return a panel for each coarse label: the share of each class (row) that is at each expert (column)."""
    shown = found[:MOST_LABELS]
    columns, rows = (max(one.counts.shape[axis] for one in shown) for axis in (1, 0))
    size = (len(shown) * (PANEL_INCHES + CELL_INCHES * columns), PANEL_INCHES + CELL_INCHES * rows)
    figure, (panels,) = grid(1, len(shown), size)
    for axes, one in zip(panels, shown, strict=True):
        _draw(axes, one)
    figure.suptitle(f"Epoch {epoch}", fontsize=10, color=MUTED)
    return figure


def _draw(axes: Axes, found: Confusion) -> None:
    shares = found.counts / np.maximum(1, found.counts.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_title(f"{found.label}: {found.matched:.1%} on the diagonal", fontsize=10)
    axes.set(xlabel="Expert", ylabel="Class")
    axes.set_xticks(range(len(found.experts)), [str(expert) for expert in found.experts], fontsize=8)
    axes.set_yticks(range(len(found.classes)), found.classes, fontsize=8)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if max(shares.shape) > MOST_WRITTEN:
        return
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "white" if share > DARK else "black"
            axes.text(column, row, f"{share:.0%}"[:-1], ha="center", va="center", fontsize=8, color=colour)
