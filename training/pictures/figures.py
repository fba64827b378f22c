"""What all pictures share: figures as files, and colours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clustnet.files import replacing

DPI = 110
MUTED = "#5b6475"


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure as a PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png")


def grid(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of ``size`` inches, and its axes by row and column."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    places = range(rows * columns)
    axes = [figure.add_subplot(rows, columns, place + 1) for place in places]
    return figure, [axes[row * columns : (row + 1) * columns] for row in range(rows)]


def bare(axes: Axes) -> None:
    """Remove ticks and frame from axes whose units mean nothing."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def plain(axes: Axes) -> None:
    """Give axes a light grid and no frame at the top and at the right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def colours(count: int) -> Sequence[Any]:
    """Return ``count`` colours that can be told apart, as far as there are that many."""
    if count <= 20:
        return [colormaps["tab10" if count <= 10 else "tab20"](place) for place in range(count)]
    return list(colormaps["turbo"].resampled(count)(range(count)))


def evenly(count: int, most: int) -> list[int]:
    """Return at most ``most`` of the places 0 to ``count - 1``, evenly spaced, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [place * (count - 1) // (most - 1) for place in range(most)]
