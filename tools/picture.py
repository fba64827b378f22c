"""Draw docs/routing.png: what the gate sends where. Run by hand: python tools/picture.py."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.bundles.routing import routing_weights
from clustnet.datasets import load

REPOSITORY = Path(__file__).resolve().parents[1]
SHOWN = 11


def main() -> None:
    """Sort the first test digits by expert and predicted coarse label and draw them."""
    predictor = Predictor(Bundle(REPOSITORY / "models" / "mnist"), "cpu")
    manifest = predictor.manifest
    images = load("mnist:test").images
    outputs = predictor.predict(images)
    experts = routing_weights(outputs.routing, hard=True).argmax(axis=1)
    positive = (outputs.positive_probability > 0.5).astype(int)
    figure = Figure(figsize=(11, 0.62 * manifest.experts + 0.7), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(manifest.experts, 2, squeeze=False)
    for expert, row in enumerate(panels):
        for coarse, axes in enumerate(row):
            chosen = np.flatnonzero((experts == expert) & (positive == coarse))[:SHOWN]
            axes.imshow(_strip(images[chosen]), cmap="gray_r", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if expert == 0:
                axes.set_title(f"said to be {manifest.coarse_labels[coarse]}", fontsize=11)
        row[0].set_ylabel(f"expert {expert}", rotation=0, ha="right", va="center", fontsize=11)
    figure.savefig(REPOSITORY / "docs" / "routing.png", dpi=110)


def _strip(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay images [N, 28, 28] side by side, blank where there are fewer than ``SHOWN``."""
    strip = np.zeros((28, 28 * SHOWN), np.uint8)
    for index, image in enumerate(images):
        strip[:, 28 * index : 28 * (index + 1)] = image
    return strip


if __name__ == "__main__":
    main()
