"""The report's plots: figures of matplotlib's object interface, free of its global state."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clustnet.scores import expert_load
from evaluation.scoring import Evaluation, counts, group_confusion

DPI = 200
WIDTH = 5.0  # inches; with 11 point letters, what a phone's width still shows legibly
FAILURE_COLUMNS, FAILURE_ROWS = 5, 4
FAILURE_WIDTH, FAILURE_HEIGHT = 1.15, 1.78  # of an image with its caption, in images
LONGEST_NAME = 10  # characters of a class name that fit below a small image
CERTAINTY_BINS = 40


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


def confusion_plot(evaluation: Evaluation, theme: Theme = LIGHT) -> Figure:
    """Plot true class against guess over all fine classes; a cell's colour is its share of its row."""
    names = evaluation.data.classes
    table = counts(evaluation.data.labels, evaluation.answers.guess, (len(names), len(names)))
    return _heatmap(table, _share(table, axis=1), names, names, ("true class", "guess"), theme)


def group_plot(evaluation: Evaluation, theme: Theme = LIGHT, *, group: int) -> Figure:
    """Plot true class against expert among the images of one coarse group, matched along the diagonal."""
    classes = evaluation.grouping.groups[group]
    found = group_confusion(evaluation.answers, evaluation.data.labels, classes)
    rows = [evaluation.data.classes[c] for c in found.classes]
    share = _share(found.table, axis=1)
    return _heatmap(found.table, share, rows, found.experts.tolist(), ("true class", "expert"), theme)


def expert_plot(evaluation: Evaluation, theme: Theme = LIGHT) -> Figure:
    """Plot which share of each class's images, in percent, each expert gets."""
    names, routing = evaluation.data.classes, evaluation.answers.routing
    table = counts(evaluation.answers.expert, evaluation.data.labels, (routing.shape[1], len(names)))
    share = _share(table, axis=0)
    rows = [f"{expert}  ({load:.0%})" for expert, load in enumerate(expert_load(routing))]
    percent = np.rint(100 * share).astype(np.int64)
    return _heatmap(percent, share, rows, names, ("expert (share of all images)", "true class"), theme)


def certainty_plot(evaluation: Evaluation, theme: Theme = LIGHT) -> Figure:
    """Plot how probable the chosen expert was, over all images and over the wrong guesses."""
    answers = evaluation.answers
    certainty = np.minimum(answers.routing.max(axis=1), 1)  # a float32 softmax may exceed 1 by its last bit
    wrong = answers.guess != evaluation.data.labels
    figure, axes = new_figure(3.2, theme)
    bins = np.linspace(0, 1, CERTAINTY_BINS + 1).tolist()
    axes.hist(certainty, bins, color=theme.all_images, label=f"all {len(wrong):,} images")
    axes.hist(certainty[wrong], bins, color=theme.failures, label=f"{wrong.sum():,} wrong guesses")
    axes.set(xlim=(0, 1), yscale="log", xlabel="probability of the chosen expert", ylabel="images")
    axes.set_ylim(bottom=0.7)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    figure.legend(frameon=False, labelcolor=theme.ink, fontsize=11, loc="outside upper left", ncols=2)
    return figure


def failure_plot(evaluation: Evaluation, theme: Theme = LIGHT) -> Figure:
    """Show the wrong guesses that the model was surest of, the surest first."""
    failures = surest_failures(evaluation, FAILURE_COLUMNS * FAILURE_ROWS)
    rows = max(1, -(-len(failures) // FAILURE_COLUMNS))
    figure, axes = new_figure(1.56 * rows, theme)
    axes.set_axis_off()
    for place, index in enumerate(failures):
        row, column = divmod(place, FAILURE_COLUMNS)
        _show_failure(axes, evaluation, int(index), (column * FAILURE_WIDTH, row * FAILURE_HEIGHT), theme)
    if len(failures) == 0:
        axes.text(0.5, 0.5, "no wrong guesses", color=theme.muted, ha="center", transform=axes.transAxes)
    right, bottom = FAILURE_COLUMNS * FAILURE_WIDTH, rows * FAILURE_HEIGHT
    axes.set(xlim=(1 - FAILURE_WIDTH, right), ylim=(bottom, 0), aspect="equal")
    return figure


def surest_failures(evaluation: Evaluation, most: int) -> NDArray[np.int64]:
    """Return the indices of at most ``most`` wrong guesses, the surest first."""
    wrong = np.flatnonzero(evaluation.answers.guess != evaluation.data.labels)
    order = np.argsort(-evaluation.answers.guess_probability[wrong], kind="stable")
    return wrong[order[:most]]


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


def _show_failure(axes: Axes, evaluation: Evaluation, index: int, corner: tuple[float, float], theme: Theme) -> None:
    x, y = corner
    names, answers = evaluation.data.classes, evaluation.answers
    axes.imshow(evaluation.data.images[index], cmap=theme.digits, vmin=0, vmax=255, extent=(x, x + 1, y + 1, y))
    sure = answers.guess_probability[index]
    true, guess = (names[c][:LONGEST_NAME] for c in (evaluation.data.labels[index], answers.guess[index]))
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
