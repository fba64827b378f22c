"""Write serving/static/digits.png: the page's strip of MNIST test digits. Run by hand: python tools/sprite.py."""

from pathlib import Path

import numpy as np
from PIL import Image

from clustnet.datasets import load

REPOSITORY = Path(__file__).resolve().parents[1]
DIGITS_PER_CLASS = 2


def main() -> None:
    """Lay the first test digits of each class side by side, 0 to 9, 0 to 9."""
    test = load("mnist:test")
    firsts = [np.flatnonzero(test.fine == digit)[:DIGITS_PER_CLASS] for digit in range(len(test.classes))]
    shown = np.stack(firsts, axis=1).ravel()
    strip = np.concatenate(list(test.images[shown]), axis=1)
    Image.fromarray(strip).save(REPOSITORY / "serving" / "static" / "digits.png", optimize=True)


if __name__ == "__main__":
    main()
