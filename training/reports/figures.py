"""Figures as files."""

from pathlib import Path

from matplotlib.figure import Figure

from clustnet.files import replacing


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure as a PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png")
