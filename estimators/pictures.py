"""The figure of the subtypes that ``ClustNet`` found."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from clustnet.corrections.state import Review, Subtype
from review.map import compute, kept_map
from review.pictures import Pictures
from review.run import Run

# Typical images per subtype, and the side of each in pixels.
TYPICAL, PIXELS = 8, 96


def draw(run: Run, review: Review) -> Figure:
    """Return a figure of typical images, one row per subtype; for embeddings without images, a map coloured by subtype.

    Args:
        run: the run.
        review: its subtypes after all corrections.
    """
    subtypes = review.ordered()
    if run.pictures is None:
        return _map(run, review, subtypes)
    typicality = np.array([row.typicality for row in run.rows])
    figure = Figure(figsize=(TYPICAL + 2.5, len(subtypes) + 0.2), layout="constrained")
    grid = figure.subplots(len(subtypes), TYPICAL, squeeze=False)
    for axes, subtype in zip(grid, subtypes, strict=True):
        members = review.members(subtype.id)
        shown = members[np.argsort(-typicality[members], kind="stable")][:TYPICAL]
        for place, axis in enumerate(axes):
            axis.set_axis_off()
            if place < len(shown):
                axis.imshow(_picture(run.pictures, int(shown[place])))
        title = f"{subtype.title}\n{len(members):,} images"
        axes[0].text(-0.1, 0.5, title, ha="right", va="center", transform=axes[0].transAxes)
    return figure


def _picture(pictures: Pictures, place: int) -> NDArray[np.uint8]:
    """Return an image, uint8 [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(pictures.jpeg(place, PIXELS))).convert("RGB"))


def _map(run: Run, review: Review, subtypes: Sequence[Subtype]) -> Figure:
    """Return a map of the embeddings, coloured by subtype."""
    path = kept_map(run.kept, run.space)
    if not path.is_file():
        compute(run.space, path)
    places = np.load(path)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    for number, subtype in enumerate(subtypes):
        members = review.members(subtype.id)
        axes.scatter(
            places[members, 0],
            places[members, 1],
            12,
            color=colormaps["tab20"](number % 20),
            label=f"{subtype.title}, {len(members):,}",
        )
    axes.set_axis_off()
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure
