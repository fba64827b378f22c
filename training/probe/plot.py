"""The picture of a probe: accuracy by layer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.pictures.figures import save

DPI = 120
PANELS = {"linear": "Linear classifier", "neighbours": "Ten nearest neighbours"}


def plot(rows: Sequence[Mapping[str, Any]], classes: int, images: int, path: Path) -> None:
    """Draw the accuracies of ``training.probe.probe.probe``.

    Args:
        rows: one row for each layer, and that of the pixels last.
        classes: number of classes, for the line of chance.
        images: number of test images.
        path: the PNG to write.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    *layers, pixels = rows
    names = [row["layer"] for row in layers]
    for index, (key, title) in enumerate(PANELS.items()):
        axes = figure.add_subplot(1, 2, index + 1)
        axes.plot(names, [row[key] for row in layers], "o-", color="tab:blue", label="trained")
        axes.plot(names, [row[f"untrained_{key}"] for row in layers], "s--", color="dimgrey", label="untrained")
        axes.axhline(pixels[key], color="tab:orange", linewidth=1, label="pixels")
        axes.axhline(1 / classes, color="lightgrey", linewidth=1, label="chance")
        axes.set(title=title, ylabel="Accuracy")
        axes.spines[["top", "right"]].set_visible(False)
        if index == 0:
            axes.legend(frameon=False, fontsize=8)
    figure.supxlabel(f"Layer; {images:,} test images", fontsize=9, color="dimgrey")
    save(figure, path, DPI)
