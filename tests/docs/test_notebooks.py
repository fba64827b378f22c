"""The notebooks of the documentation run, and print what they show."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from tests.docs.pages import DOCS, REPOSITORY, matches, numbers


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what each code cell prints, without its pictures."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]


def pictures(notebook: nbformat.NotebookNode) -> list[int]:
    """Return how many pictures each code cell shows."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in cells]


@pytest.fixture
def kernel() -> Iterator[AsyncKernelManager]:
    """Yield a kernel of this Python that listens on sockets in a folder of its own instead of on ports."""
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        yield AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/socket")


@pytest.mark.parametrize("path", sorted(DOCS.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_prints_what_it_shows(
    path: Path, kernel: AsyncKernelManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    shown, run = nbformat.read(path, as_version=4), nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(run, km=kernel, timeout=120, coalesce_streams=True, resources=place).execute()
    assert pictures(run) == pictures(shown)
    assert any(pictures(shown))
    for before, now in zip(printed(shown), printed(run), strict=True):
        assert matches(before, now), now
        assert numbers(now) == pytest.approx(numbers(before), abs=0.2)
