"""The plots of a sweep: how accuracy evolves, and whether the label-free score ranks the runs as accuracy does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr

from training.pictures.figures import save

Runs = Sequence[tuple[str, int, list[dict[str, Any]]]]

DPI = 150
PANELS = {
    "coarse_accuracy": "Coarse accuracy",
    "class_accuracy": "Class accuracy",
    "cell_accuracy": "Clustering accuracy over cells",
}
# What the label-free score is compared with: the first that every run has.
COMPARED = ("class_accuracy", "cell_accuracy")


def plot_evolution(runs: Runs, path: Path) -> bool:
    """Draw accuracy against epoch: one line per run, one colour per setting.

    Args:
        runs: name of the setting, seed and score rows of each run; the last split is drawn.
        path: the PNG to write.

    Returns:
        Whether there was an accuracy to draw.
    """
    scores = {score: title for score, title in PANELS.items() if any(score in rows[-1] for _, _, rows in runs)}
    if not scores:
        return False
    figure, panels = _figure((5 + 3.5 * len(scores), 4), len(scores))
    colours = _colours([name for name, _, _ in runs])
    for axes, (score, title) in zip(panels, scores.items(), strict=True):
        for name, _, rows in runs:
            drawn = [row for row in rows if row["split"] == rows[-1]["split"]]
            axes.plot(
                [row["epoch"] for row in drawn],
                [row.get(score, np.nan) for row in drawn],
                color=colours[name],
                label=name,
                marker="o",
                markersize=3,
                linewidth=1.2,
                alpha=0.8,
            )
        axes.set(title=title, xlabel="Epoch", ylabel="Accuracy", ylim=(0, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    # One entry per setting.
    lines = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    title = f"{len(runs)} runs, {_split(runs)} split"
    figure.legend(lines.values(), lines.keys(), title=title, loc="outside right upper", frameon=False)
    save(figure, path, DPI)
    return True


def plot_label_free(runs: Runs, path: Path) -> bool:
    """Draw each run's final class accuracy against its label-free score, with their rank correlation.

    Without reference images, cell accuracy is drawn instead.

    Args:
        runs: name of the setting, seed and score rows of each run; the last split is drawn.
        path: the PNG to write.

    Returns:
        Whether every run has these scores, so that there was something to draw.
    """
    compared = [score for score in COMPARED if all(score in rows[-1] for _, _, rows in runs)]
    if not compared:
        return False
    figure, (axes,) = _figure((6.5, 4.5), 1)
    colours = _colours([name for name, _, _ in runs])
    for name, seed, rows in runs:
        point = rows[-1]["label_free/score"], rows[-1][compared[0]]
        axes.scatter(*point, color=colours[name], label=name)
        axes.annotate(str(seed), point, textcoords="offset points", xytext=(5, 4), fontsize=8, color="dimgrey")
    accuracy = f"{PANELS[compared[0]]}, {_split(runs)} split"
    axes.set(xlabel="Label-free score (nats)", ylabel=accuracy, title=_ranks(runs, compared[0]))
    points = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(points.values(), points.keys(), frameon=False, fontsize=8)
    save(figure, path, DPI)
    return True


def _split(runs: Runs) -> str:
    """Return the name of the split that is drawn."""
    return str(runs[0][2][-1]["split"])


def _ranks(runs: Runs, score: str) -> str:
    """Return a title, with the rank correlation if there are three runs or more."""
    finals = [rows[-1] for _, _, rows in runs]
    pairs = np.array([[row["label_free/score"], row[score]] for row in finals])
    if len(pairs) < 3 or (pairs == pairs[0]).all(axis=0).any():
        return f"{len(finals)} runs (numbers: seeds)"
    return f"{len(finals)} runs (numbers: seeds), Spearman's rank correlation {spearmanr(pairs).statistic:.2f}"


def _figure(size: tuple[float, float], panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches, with panels side by side."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    found = [figure.add_subplot(1, panels, index + 1) for index in range(panels)]
    for axes in found:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def _colours(names: Sequence[str]) -> dict[str, Any]:
    """Return a colour for each setting: matplotlib's ten, or an even scale where there are more."""
    settings = list(dict.fromkeys(names))
    if len(settings) <= 10:
        return {name: f"C{index}" for index, name in enumerate(settings)}
    return dict(zip(settings, colormaps["turbo"].resampled(len(settings))(range(len(settings))), strict=True))
