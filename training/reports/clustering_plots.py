"""The pictures of a clustering report: spaces as scatter plots, and images beside their reconstructions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from training.pictures.figures import save

Floats = NDArray[np.floating]

# scikit-learn's default.
PERPLEXITY = 30
DPI = 120


def plot_spaces(
    spaces: Mapping[str, Floats], labels: NDArray[np.integer], classes: Sequence[str], seed: int, path: Path
) -> None:
    """Draw the same images in several spaces, each flattened by t-SNE (van der Maaten, Hinton, JMLR 9, 2008).

    Args:
        spaces: title -> rows [N, D].
        labels: [N] true classes, which give the colours.
        classes: their names.
        seed: seeds t-SNE.
        path: the PNG to write.
    """
    figure = Figure(figsize=(4.2 * len(spaces) + 1, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    for index, (title, rows) in enumerate(spaces.items()):
        axes = figure.add_subplot(1, len(spaces), index + 1)
        flat = flattened(rows, seed)
        for label, name in enumerate(classes):
            across, up = flat[labels == label].T
            axes.scatter(across, up, s=5, color=colours(label % colours.N), label=name, linewidths=0)
        axes.set(title=title, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.legend(
        *axes.get_legend_handles_labels(), title="Class", loc="outside right center", markerscale=3, frameon=False
    )
    figure.supxlabel(f"t-SNE of {len(labels):,} test images, which were not trained on", fontsize=9, color="dimgrey")
    save(figure, path, DPI)


def flattened(rows: Floats, seed: int) -> Floats:
    """Return rows [N, D] in the plane, float32 [N, 2]."""
    # t-SNE requires a perplexity below N.
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    flat: Floats = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
    return flat


def plot_reconstructions(rows: Mapping[str, Floats], path: Path) -> None:
    """Draw images and their reconstructions, one row each.

    Args:
        rows: title -> images [N, H, W] or [N, H, W, C], 0 (black) to 1; values beyond are clipped.
        path: the PNG to write.
    """
    columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(columns * 0.8 + 2.2, len(rows) * 0.85), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (title, images) in enumerate(rows.items()):
        for column, image in enumerate(images.clip(0, 1)):
            axes = figure.add_subplot(len(rows), columns, row * columns + column + 1)
            axes.imshow(image, cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("lightgrey")
            if column == 0:
                axes.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
    save(figure, path, DPI)
