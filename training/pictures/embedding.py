"""The gate's embedding in the plane, and how it changes over epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from training.pictures.figures import MUTED, bare, colours, grid
from training.pictures.snapshot import Floats, Snapshot

# scikit-learn's default.
PERPLEXITY = 30
# How many steps t-SNE takes, and how much it exaggerates neighbourhoods in the first of them. Later epochs begin where
# the one before ended, and so need less of both.
FIRST: Mapping[str, Any] = {"max_iter": 500, "early_exaggeration": 12.0}
LATER: Mapping[str, Any] = {"max_iter": 400, "early_exaggeration": 4.0}
FEWEST = 4


def flattened(rows: Floats, seed: int, before: Floats | None = None) -> Floats:
    """Return rows [N, D] in the plane, float32 [N, 2], by t-SNE (van der Maaten, Hinton, JMLR 9, 2008).

    Args:
        rows: at least ``FEWEST`` rows.
        seed: seeds everything random.
        before: float32 [N, 2], where the same images were in the epoch drawn before, so that they can be recognised.
    """
    # t-SNE requires a perplexity below N.
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    start: str | Floats = "pca" if min(rows.shape) > 1 else "random"
    if before is not None and before.any():
        start = before
    how = LATER if isinstance(start, np.ndarray) else FIRST
    found: Floats = TSNE(2, perplexity=perplexity, init=start, random_state=seed, **how).fit_transform(rows)
    return found


def draw_embedding(snapshot: Snapshot, labels: NDArray[np.integer], names: Sequence[str], what: str) -> Figure:
    """Return the embedding of an epoch twice, coloured by expert and by label.

    Args:
        snapshot: the snapshot of the epoch.
        labels: int [M], the place of each image's label in ``names``; negative where it is not known.
        names: the names of the labels.
        what: what the labels are, such as ``class``.
    """
    figure, ((left, right),) = grid(1, 2, (11, 4.6))
    experts = np.unique(snapshot.experts)
    _scatter(left, snapshot.flat, np.searchsorted(experts, snapshot.experts), [str(expert) for expert in experts])
    _scatter(right, snapshot.flat, labels, names)
    for axes, title in ((left, "expert"), (right, what)):
        axes.set_title(f"By {title}", fontsize=11, loc="left")
        if 1 < len(axes.collections) <= 20:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=3, frameon=False, fontsize=8)
    figure.suptitle(f"Epoch {snapshot.number}", fontsize=10, color=MUTED)
    return figure


def draw_film_strip(
    snapshots: Sequence[Snapshot], labels: NDArray[np.integer], names: Sequence[str], what: str
) -> Figure:
    """Return the embedding of several epochs side by side, above by label and below by expert.

    Args:
        snapshots: the snapshots of the epochs, in order.
        labels: see ``draw_embedding``.
        names: see ``draw_embedding``.
        what: see ``draw_embedding``.
    """
    figure, (above, below) = grid(2, len(snapshots), (1.9 * len(snapshots) + 0.4, 4.1))
    experts = np.unique(np.concatenate([snapshot.experts for snapshot in snapshots]))
    for axes, snapshot in zip(above, snapshots, strict=True):
        _scatter(axes, snapshot.flat, labels, names, 3.0)
        axes.set_title(f"epoch {snapshot.number}", fontsize=10, color=MUTED)
    for axes, snapshot in zip(below, snapshots, strict=True):
        _scatter(axes, snapshot.flat, np.searchsorted(experts, snapshot.experts), [str(one) for one in experts], 3.0)
    for (axes, *_), title in ((above, f"by {what}"), (below, "by expert")):
        axes.set_ylabel(title, fontsize=10)
    return figure


def _scatter(axes: Axes, flat: Floats, labels: NDArray[np.integer], names: Sequence[str], size: float = 6.0) -> None:
    """Draw points in the colours of their labels; those without a label are grey and lie behind the others."""
    palette = colours(len(names))
    for label in range(-1, len(names)):
        chosen = labels == label if label >= 0 else labels < 0
        if chosen.any():
            colour, name = (palette[label], names[label]) if label >= 0 else ("lightgrey", "not known")
            across, up = flat[chosen].T
            axes.scatter(across, up, s=size, color=colour, label=name, linewidths=0, alpha=0.85)
    bare(axes)
    axes.set_aspect("equal", adjustable="datalim")
