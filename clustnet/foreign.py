"""Packages on Python's path that hide one of ClustNet's own, such as another ``training`` with ``__init__.py``."""

from importlib.util import find_spec
from pathlib import Path

ROOMS = ("training", "onnx_export", "review", "estimators", "serving", "evaluation")
OURS = Path(__file__).resolve().parents[1]


def foreign(error: ModuleNotFoundError) -> str | None:
    """Return a sentence about the package of another project that hides one of ClustNet's, or None if none does."""
    room = (error.name or "").partition(".")[0]
    spec = find_spec(room) if room in ROOMS else None
    if spec is None:
        return None
    place = Path(next(iter(spec.submodule_search_locations or ()), spec.origin or "")).resolve()
    if place == OURS / room:
        return None
    return (
        f"Python finds {place} instead of ClustNet's own package {room}; start from another folder, take that one "
        "off PYTHONPATH, or rename it."
    )
