"""What the report's plots have in common: themes, empty figures, tables drawn as heatmaps, and PNG files.

Figures are made with matplotlib's object interface, free of its global state.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 200
# At this width, letters of 11 points are still legible on a phone.
WIDTH_INCHES = 5.0
LETTER_POINTS = 11
SMALL_LETTER_POINTS = 7
# A table with more columns than this has small letters, and one with even more has no written entries.
MAX_LARGE_COLUMNS = 12
MAX_WRITTEN_COLUMNS = 24
MAX_NAME_CHARACTERS = 18


@dataclass(frozen=True)
class Theme:
    """The colours of a plot; ``low`` to ``high`` is the scale of heatmaps, ``drawings`` that of drawings."""

    paper: str
    ink: str
    muted: str
    low: str
    high: str
    all_images: str
    failures: str
    drawings: str

    @property
    def scale(self) -> LinearSegmentedColormap:
        """The colour map of the heatmaps."""
        return LinearSegmentedColormap.from_list("share", [self.low, self.high])


LIGHT = Theme("#ffffff", "#1f2430", "#687080", "#f2f5fa", "#1553a1", "#9dbbe3", "#cf4520", "gray_r")
DARK = Theme("#171b22", "#e8ebf0", "#9aa3b2", "#1f2530", "#6fb0ff", "#3f6ea8", "#ff8a5c", "gray")


def new_figure(height: float, theme: Theme) -> tuple[Figure, Axes]:
    """Return a figure of the report's width and ``height`` inches, and its empty axes."""
    figure = blank_figure(height, theme)
    return figure, styled(figure.add_subplot(), theme)


def blank_figure(height: float, theme: Theme) -> Figure:
    """Return a figure of the report's width and ``height`` inches, without axes."""
    return Figure(figsize=(WIDTH_INCHES, height), facecolor=theme.paper, layout="constrained")


def styled(axes: Axes, theme: Theme) -> Axes:
    """Give axes the theme's colours and return them."""
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.ink, labelsize=LETTER_POINTS)
    axes.spines[:].set_color(theme.muted)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=theme.ink, fontsize=LETTER_POINTS)
    return axes


def add_legend(figure: Figure, theme: Theme) -> None:
    """Add a legend above the axes."""
    figure.legend(frameon=False, labelcolor=theme.ink, fontsize=10, loc="outside upper left", ncols=2)


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def short(name: str, most: int = MAX_NAME_CHARACTERS) -> str:
    """Return a name of at most ``most`` characters; a longer one loses its middle."""
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[-tail:]}"


def share_of(table: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
    """Return the entries of a table as shares of their sums along an axis."""
    share: NDArray[np.float64] = table / np.maximum(table.sum(axis=axis, keepdims=True), 1)
    return share


def heatmap(
    table: NDArray[np.int64],
    share: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    labels: tuple[str, str],
    theme: Theme,
) -> Figure:
    """Draw a table whose entries are coloured by ``share``, 0 to 1; both have the shape [rows, columns].

    Colours follow the square root of the share: where shares are near 0 or 1, the small ones are of interest.
    """
    rows, columns = list(map(short, rows)), list(map(short, columns))
    figure, axes = new_figure(0.8 + 4.1 * len(rows) / max(len(columns), 6), theme)
    axes.imshow(share, cmap=theme.scale, norm=PowerNorm(0.5, vmin=0, vmax=1), aspect="auto")
    axes.set(ylabel=labels[0], xlabel=labels[1])
    size = LETTER_POINTS if len(columns) <= MAX_LARGE_COLUMNS else SMALL_LETTER_POINTS
    turned, anchor = (45, "right") if max(map(len, columns)) > 5 else (0, "center")
    axes.set_xticks(range(len(columns)), columns, parse_math=False, fontsize=size)
    axes.tick_params(axis="x", rotation=turned)
    for label in axes.get_xticklabels():
        label.set(ha=anchor, rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows, parse_math=False, fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(table):
        if value and len(columns) <= MAX_WRITTEN_COLUMNS:
            colour = theme.paper if share[row, column] > 0.25 else theme.ink
            text_size = 10 if len(columns) <= MAX_LARGE_COLUMNS else 5
            axes.text(column, row, f"{value}", ha="center", va="center", color=colour, fontsize=text_size)
    return figure
