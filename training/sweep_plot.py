"""The plot of a sweep: how accuracy evolves across its runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clustnet.files import replacing

PANELS = {"binary_accuracy": "Binary accuracy", "cell_accuracy": "Ten-class clustering accuracy over cells"}


def plot_evolution(runs: Sequence[tuple[str, int, list[dict[str, Any]]]], path: Path) -> None:
    """Draw test accuracy against epoch: one line a run, one colour a setting.

    Args:
        runs: name of the setting, seed and score rows of each run.
        path: the PNG to write.
    """
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    colours = _colours([name for name, _, _ in runs])
    for axes, (score, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for name, _, rows in runs:
            tests = [row for row in rows if row["split"] == "test"]
            axes.plot(
                [row["epoch"] for row in tests],
                [row[score] for row in tests],
                color=colours[name],
                label=name,
                marker="o",
                markersize=3,
                linewidth=1.2,
                alpha=0.8,
            )
        axes.set(title=title, xlabel="Epoch", ylabel="Accuracy", ylim=(0, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    lines = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one a setting
    title = f"{len(runs)} runs, test split"
    figure.legend(lines.values(), lines.keys(), title=title, loc="outside right upper", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _colours(names: Sequence[str]) -> dict[str, Any]:
    """Give each setting a colour of its own: matplotlib's ten, or an even scale where there are more."""
    settings = list(dict.fromkeys(names))
    if len(settings) <= 10:
        return {name: f"C{index}" for index, name in enumerate(settings)}
    return dict(zip(settings, colormaps["turbo"].resampled(len(settings))(range(len(settings))), strict=True))
