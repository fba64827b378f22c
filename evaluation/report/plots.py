"""The report's plots: figures of matplotlib's object interface, free of its global state."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clustnet.scores.tally import CERTAINTY_BINS, Mistake
from evaluation.report.scoring import Evaluated, group_confusion

DPI = 200
WIDTH = 5.0  # inches; with 11 point letters, what a phone's width still shows legibly
FAILURE_COLUMNS = 5
FAILURE_WIDTH, FAILURE_HEIGHT = 1.15, 1.78  # of an image with its caption, in images
LONGEST_NAME = 10  # characters of a class name that fit below a small image


@dataclass(frozen=True)
class Theme:
    """The colours of a plot; ``low`` to ``high`` is the scale of the heatmaps."""

    paper: str
    ink: str
    muted: str
    low: str
    high: str
    all_images: str
    failures: str
    digits: str

    @property
    def scale(self) -> LinearSegmentedColormap:
        """The colour map of the heatmaps."""
        return LinearSegmentedColormap.from_list("share", [self.low, self.high])


LIGHT = Theme("#ffffff", "#1f2430", "#687080", "#f2f5fa", "#1553a1", "#9dbbe3", "#cf4520", "gray_r")
DARK = Theme("#171b22", "#e8ebf0", "#9aa3b2", "#1f2530", "#6fb0ff", "#3f6ea8", "#ff8a5c", "gray")


def confusion_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot true class against guess over all fine classes; a cell's colour is its share of its row."""
    names = evaluation.data.classes
    table = evaluation.tally.confusion
    return _heatmap(table, _share(table, axis=1), names, names, ("true class", "guess"), theme)


def group_plot(evaluation: Evaluated, theme: Theme = LIGHT, *, group: int) -> Figure:
    """Plot true class against expert among the images of one coarse group, matched along the diagonal."""
    classes = evaluation.grouping.groups[group]
    found = group_confusion(evaluation.tally, classes)
    rows = [evaluation.data.classes[c] for c in found.classes]
    share = _share(found.table, axis=1)
    return _heatmap(found.table, share, rows, found.experts.tolist(), ("true class", "expert"), theme)


def expert_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot which share of each class's images, in percent, each expert gets."""
    table = evaluation.tally.routed.sum(axis=2).T
    share = _share(table, axis=0)
    rows = [f"{expert}  ({load:.0%})" for expert, load in enumerate(table.sum(axis=1) / table.sum())]
    percent = np.rint(100 * share).astype(np.int64)
    return _heatmap(
        percent, share, rows, evaluation.data.classes, ("expert (share of all images)", "true class"), theme
    )


def certainty_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Plot how probable the chosen expert was, over all images and over the wrong guesses."""
    images, wrong = evaluation.tally.certainty
    figure, axes = new_figure(3.2, theme)
    edges = np.linspace(0, 1, CERTAINTY_BINS + 1)
    place: dict[str, Any] = {"x": edges[:-1], "width": np.diff(edges), "align": "edge"}
    axes.bar(height=images, color=theme.all_images, label=f"all {images.sum():,} images", **place)
    axes.bar(height=wrong, color=theme.failures, label=f"{wrong.sum():,} wrong guesses", **place)
    axes.set(xlim=(0, 1), yscale="log", xlabel="probability of the chosen expert", ylabel="images")
    axes.set_ylim(bottom=0.7)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    figure.legend(frameon=False, labelcolor=theme.ink, fontsize=11, loc="outside upper left", ncols=2)
    return figure


def failure_plot(evaluation: Evaluated, theme: Theme = LIGHT) -> Figure:
    """Show the wrong guesses that the model was surest of, the surest first."""
    failures = evaluation.tally.mistakes
    rows = max(1, -(-len(failures) // FAILURE_COLUMNS))
    figure, axes = new_figure(1.56 * rows, theme)
    axes.set_axis_off()
    for place, failure in enumerate(failures):
        row, column = divmod(place, FAILURE_COLUMNS)
        corner = column * FAILURE_WIDTH, row * FAILURE_HEIGHT
        _show_failure(axes, failure, evaluation.data.classes, corner, theme)
    if len(failures) == 0:
        axes.text(0.5, 0.5, "no wrong guesses", color=theme.muted, ha="center", transform=axes.transAxes)
    right, bottom = FAILURE_COLUMNS * FAILURE_WIDTH, rows * FAILURE_HEIGHT
    axes.set(xlim=(1 - FAILURE_WIDTH, right), ylim=(bottom, 0), aspect="equal")
    return figure


def new_figure(height: float, theme: Theme) -> tuple[Figure, Axes]:
    """Return a figure of the report's width and ``height`` inches, and its empty axes."""
    figure = blank_figure(height, theme)
    return figure, styled(figure.add_subplot(), theme)


def blank_figure(height: float, theme: Theme) -> Figure:
    """Return a figure of the report's width and ``height`` inches, without axes."""
    return Figure(figsize=(WIDTH, height), facecolor=theme.paper, layout="constrained")


def styled(axes: Axes, theme: Theme) -> Axes:
    """Give axes the theme's colours and return them."""
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.ink, labelsize=11)
    axes.spines[:].set_color(theme.muted)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=theme.ink, fontsize=11)
    return axes


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _show_failure(
    axes: Axes, failure: Mistake, names: Sequence[str], corner: tuple[float, float], theme: Theme
) -> None:
    x, y = corner
    axes.imshow(failure.image, cmap=theme.digits, vmin=0, vmax=255, extent=(x, x + 1, y + 1, y))
    sure = failure.probability
    true, guess = (names[c][:LONGEST_NAME] for c in (failure.label, failure.guess))
    lines = ((f"true {true}", theme.ink), (f"guess {guess}", theme.failures), (f"{sure:.1%}", theme.failures))
    for line, (text, colour) in enumerate(lines):
        height = y + 1.04 + 0.19 * line
        axes.text(x + 0.5, height, text, color=colour, ha="center", va="top", fontsize=8, parse_math=False)


def _heatmap(
    table: NDArray[np.int64],
    share: NDArray[np.float64],
    rows: Sequence[object],
    columns: Sequence[object],
    labels: tuple[str, str],
    theme: Theme,
) -> Figure:
    """Draw a table whose cells are coloured by ``share``, 0 to 1, both of [rows, columns].

    The scale is that of the square root, as among shares near 0 and 1 the small ones are of interest.
    """
    figure, axes = new_figure(0.8 + 4.1 * len(rows) / max(len(columns), 6), theme)
    axes.imshow(share, cmap=theme.scale, norm=PowerNorm(0.5, vmin=0, vmax=1), aspect="auto")
    axes.set(ylabel=labels[0], xlabel=labels[1])
    turned, anchor = (45, "right") if max(len(str(name)) for name in columns) > 5 else (0, "center")
    axes.set_xticks(range(len(columns)), map(str, columns), parse_math=False)
    axes.tick_params(axis="x", rotation=turned)
    for label in axes.get_xticklabels():
        label.set(ha=anchor, rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), map(str, rows), parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(table):
        if value:
            colour = theme.paper if share[row, column] > 0.25 else theme.ink
            axes.text(column, row, f"{value}", ha="center", va="center", color=colour)
    return figure


def _share(table: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
    totals = table.sum(axis=axis, keepdims=True)
    share: NDArray[np.float64] = table / np.maximum(totals, 1)
    return share


def confusion_heatmap(table: NDArray[np.int64], names: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Plot true class (row of ``table``, int64 [C, C]) against guess; a cell's colour is its share of its row."""
    return _heatmap(table, _share(table, axis=1), names, names, ("true class", "guess"), theme)
