"""A small run's subtypes, for tests of corrections."""

import numpy as np

from clustnet.corrections.state import Found, Subtype

FILES = [f"{label}/{number}.png" for label in ("ok", "defect") for number in range(6)]


def found(files: list[str] = FILES) -> Found:
    """Return two coarse labels with two subtypes of three images each."""
    subtypes = [Subtype(f"{label}/{number}", label) for label in ("defect", "ok") for number in (1, 2)]
    return Found(files, ["defect", "ok"], subtypes, np.repeat([2, 3, 0, 1], len(files) // 4))
