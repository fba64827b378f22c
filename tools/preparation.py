"""Draw the pictures of ``docs/preparation.md``. Run by hand: python -m tools.preparation."""

from pathlib import Path

import numpy as np
from PIL import Image

from clustnet.bundles.digits import prepare_digit
from clustnet.datasets import load
from tests.clustnet.bundles.photographs import KINDS, enlarged, photographed

FOLDER = Path(__file__).parents[1] / "docs" / "images" / "preparation"
SIDE_PIXELS, GAP_PIXELS = 150, 10


def main() -> None:
    """Write six pictures, each of a page and of what the model gets from it."""
    digits = load("mnist:test")
    for number, name in enumerate([*KINDS, "edge"]):
        generator = np.random.default_rng(number)
        place = int(np.flatnonzero(digits.fine == number + 2)[0])
        ink = enlarged(digits.images[place], (220, 220), generator)
        page = photographed(ink, "clean" if name == "edge" else KINDS[number], generator)
        if name == "edge":
            # A sharp edge, beyond which half the light is left, as beside a hand.
            page = np.hstack([page[:, :90], page[:, 90:] // 2])
        picture = Image.new("L", (2 * SIDE_PIXELS + GAP_PIXELS, SIDE_PIXELS), 255)
        for left, image, filter in ((0, page, "BOX"), (SIDE_PIXELS + GAP_PIXELS, prepare_digit(page), "NEAREST")):
            resized = Image.fromarray(image).resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling[filter])
            picture.paste(resized, (left, 0))
        picture.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
