"""Another package on Python's path that has the name of a room, such as a folder ``training`` with ``__init__.py``."""

from importlib.util import find_spec
from pathlib import Path

ROOMS = ("training", "onnx_export", "review", "estimators", "serving", "evaluation")
OURS = Path(__file__).resolve().parents[1]


def foreign(error: ModuleNotFoundError) -> str | None:
    """Return in a sentence which package of another project hides a room; None where none does."""
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
