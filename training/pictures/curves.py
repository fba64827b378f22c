"""Accuracy over epochs and networks, and the certainty of the gate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from training.pictures.figures import colours, grid, plain
from training.pictures.snapshot import Floats, Snapshot

GROUP = "group_accuracy/"
# Each score has a panel if any network has the score.
SCORES = {
    "coarse_accuracy": "Coarse accuracy",
    "class_accuracy": "Class accuracy",
    "cell_accuracy": "Accuracy over cells",
    "label_free/score": "Label-free score (nats)",
}
MOST_LINES, COLUMNS = 12, 3
BINS = 20


def draw_evolution(networks: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Return a panel for each score, with a line for each network over its epochs.

    For a single network, another panel shows the accuracy within each coarse label.

    Args:
        networks: name -> the scores of the network's epochs on one split; at least one row in all.
    """
    every = [row for rows in networks.values() for row in rows]
    panels: dict[str, dict[str, tuple[Sequence[Mapping[str, Any]], str]]] = {
        title: {name: (rows, score) for name, rows in networks.items()}
        for score, title in SCORES.items()
        if any(score in row for row in every)
    }
    groups = [key for key in every[-1] if key.startswith(GROUP)][:MOST_LINES]
    if len(networks) == 1 and groups:
        (rows,) = networks.values()
        panels["Accuracy within each coarse label"] = {key.removeprefix(GROUP): (rows, key) for key in groups}
    lines_of_panels = -(-len(panels) // COLUMNS)
    columns = min(COLUMNS, len(panels))
    figure, axes = grid(lines_of_panels, columns, (3.3 * columns + 0.4, 2.9 * lines_of_panels))
    places = [place for row in axes for place in row]
    for empty in places[len(panels) :]:
        empty.set_visible(False)
    for place, (title, lines) in zip(places, panels.items(), strict=False):
        for colour, (name, (rows, score)) in zip(colours(len(lines)), lines.items(), strict=True):
            epochs, values = [row["epoch"] for row in rows], [row.get(score, np.nan) for row in rows]
            place.plot(epochs, values, color=colour, label=name, marker="o", markersize=3, linewidth=1.3)
        place.set_title(title, fontsize=10)
        place.set_xlabel("Epoch")
        place.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if "Label-free" not in title:
            place.set_ylim(-0.02, 1.02)
            place.yaxis.set_major_formatter(PercentFormatter(1))
        if len(lines) > 1:
            place.legend(frameon=False, fontsize=8)
        plain(place)
    return figure


def draw_certainty(
    snapshots: Sequence[Snapshot], certainty: Floats, coarse: NDArray[np.integer], labels: Sequence[str]
) -> Figure:
    """Return how sure the gate is: over epochs, and after the last one for each coarse label.

    Args:
        snapshots: the snapshots of the epochs, in order.
        certainty: float32 [N], the largest routing weight of each image in the last epoch.
        coarse: int [N], coarse labels.
        labels: the names of the coarse labels.
    """
    figure, ((left, right),) = grid(1, 2, (9, 3.3))
    epochs = [snapshot.number for snapshot in snapshots]
    lowest, low, middle, high, highest = np.stack([snapshot.certainty for snapshot in snapshots]).T
    left.fill_between(epochs, lowest, highest, color="C0", alpha=0.15, linewidth=0, label="80 % of the images")
    left.fill_between(epochs, low, high, color="C0", alpha=0.3, linewidth=0, label="50 % of the images")
    left.plot(epochs, middle, color="C0", marker="o", markersize=3, label="median")
    left.set_title("Over epochs", fontsize=10)
    left.set(xlabel="Epoch", ylim=(0, 1.02))
    left.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    left.legend(frameon=False, fontsize=8, loc="lower right")
    shown = list(labels)[:MOST_LINES]
    for colour, (label, name) in zip(colours(len(shown)), enumerate(shown), strict=True):
        own = certainty[coarse == label]
        if len(own):
            shares = np.histogram(own, bins=BINS, range=(0, 1))[0] / len(own)
            right.stairs(shares, np.linspace(0, 1, BINS + 1), color=colour, label=name, linewidth=1.5)
    right.set_title(f"After epoch {epochs[-1]}", fontsize=10)
    right.set(xlabel="Largest routing weight of an image", xlim=(0, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.legend(frameon=False, fontsize=8, loc="upper left")
    left.set_ylabel("Largest routing weight")
    right.set_ylabel("Images")
    for axes in (left, right):
        plain(axes)
    return figure
