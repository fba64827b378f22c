"""The plot of a sweep: how accuracy evolves across its runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clustnet.files import replacing

PANELS = {"binary_accuracy": "Binary accuracy", "cell_accuracy": "Ten-class clustering accuracy over cells"}


def plot_evolution(runs: Sequence[tuple[str, int, list[dict[str, Any]]]], path: Path) -> None:
    """Draw test accuracy against epoch: one line a run, one colour a setting.

    Args:
        runs: name of the setting, seed and score rows of each run.
        path: the PNG to write.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    settings = list(dict.fromkeys(name for name, _, _ in runs))
    for axes, (score, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for name, seed, rows in runs:
            tests = [row for row in rows if row["split"] == "test"]
            label = name if seed == next(s for n, s, _ in runs if n == name) else None
            axes.plot(
                [row["epoch"] for row in tests],
                [row[score] for row in tests],
                color=f"C{settings.index(name) % 10}",
                label=label,
                marker="o",
                markersize=3,
                linewidth=1.2,
                alpha=0.8,
            )
        axes.set(title=title, xlabel="Epoch", ylim=(0, 1.02))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title=f"{len(runs)} runs, test split", loc="best", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
