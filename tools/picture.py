"""Draw docs/images/routing.png: test digits in each cell. Run by hand: python tools/picture.py."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.datasets import load

REPOSITORY = Path(__file__).resolve().parents[1]
MAX_IMAGES_PER_CELL = 11


def main() -> None:
    """Draw the first test digits of each cell: a row per expert, a column per predicted coarse label."""
    predictor = Predictor(Bundle(REPOSITORY / "models" / "mnist"), "cpu")
    manifest = predictor.manifest
    images = load("mnist:test").images
    outputs = predictor.predict(images)
    experts, predicted = outputs.routing.argmax(axis=1), outputs.coarse_probability.argmax(axis=1)
    figure = Figure(figsize=(11, 0.62 * manifest.experts + 0.7), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(manifest.experts, len(manifest.coarse_labels), squeeze=False)
    for expert, row in enumerate(panels):
        for coarse, axes in enumerate(row):
            chosen = np.flatnonzero((experts == expert) & (predicted == coarse))[:MAX_IMAGES_PER_CELL]
            axes.imshow(_strip(images[chosen]), cmap="gray_r", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if expert == 0:
                axes.set_title(f"predicted {manifest.coarse_labels[coarse]}", fontsize=11)
        row[0].set_ylabel(f"expert {expert}", rotation=0, ha="right", va="center", fontsize=11)
    figure.savefig(REPOSITORY / "docs" / "images" / "routing.png", dpi=110)


def _strip(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images [N, 28, 28] side by side, blank where there are fewer than ``MAX_IMAGES_PER_CELL``."""
    strip = np.zeros((28, 28 * MAX_IMAGES_PER_CELL), np.uint8)
    for index, image in enumerate(images):
        strip[:, 28 * index : 28 * (index + 1)] = image
    return strip


if __name__ == "__main__":
    main()
