"""The folder of a run of ``clustnet grow``.

::

    recipe.yaml                every key, as it was resolved
    splits.csv                 the split of each image, which another run can use again
    checkpoints/step_001.pt    network and tables after the first node; step_000.pt is what the run began with
    checkpoints/unfinished.pt  the node that is being learnt, after its last epoch
    curves.csv                 one row per epoch: loss, accuracy on its batches and on validation images
    matrix.csv                 one row per step and learnt node: scores on test images
    baselines.csv              the same for nodes learnt from scratch and all at once, if the recipe asks for them
    summary.csv                one row per node: scores when learnt and now, parameters and milliseconds added
    overall.csv                one row: forgetting, transfer, and whole walks
    matrix.png, curves.png
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clustnet.errors import UserError
from clustnet.files import shown, write_text
from training.grow.config import METHOD, GrowRecipe, read_grow_recipe
from training.grow.network import GrownNetwork, network_of
from training.recipe.yaml_text import read_yaml
from training.runs.checkpoint import load_state, save_state
from training.runs.keeping import Waste

RECIPE, UNFINISHED = "recipe.yaml", "unfinished.pt"


class GrowRun:
    """Reads and writes one run.

    Args:
        path: the run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, recipe: GrowRecipe, resume: bool) -> None:
        """Check that a run can start here, or that the run to resume has the same recipe.

        Raises:
            UserError: there is a run and ``resume`` is not set, or the reverse, or the run has another recipe.
        """
        exists = (self.path / RECIPE).is_file()
        if exists and not resume:
            raise UserError(
                f"{shown(self.path)} already holds a run; add --resume to continue, or choose another --out."
            )
        if resume and not exists:
            raise UserError(f"{shown(self.path)} holds no run to resume; leave out --resume to start one.")
        if exists and self.recipe().digest() != recipe.digest():
            raise UserError(f"{shown(self.path)} was started with another recipe; choose another --out.")

    def begin(self, recipe: GrowRecipe) -> None:
        """Write the recipe."""
        write_text(self.path / RECIPE, recipe.to_yaml())

    def recipe(self) -> GrowRecipe:
        """Return the run's recipe.

        Raises:
            UserError: the folder holds no run of this command.
        """
        if not is_grown(self.path):
            raise UserError(f"{shown(self.path)} is not a run of 'clustnet grow'; name one.")
        return read_grow_recipe(self.path / RECIPE)

    def save(self, name: str, state: Mapping[str, Any]) -> None:
        """Write a checkpoint, whole or not at all."""
        save_state(self.path / "checkpoints" / name, state)

    def load(self, name: str) -> dict[str, Any] | None:
        """Return a checkpoint, tensors and plain values only; None if there is none.

        Raises:
            UserError: the checkpoint is damaged.
        """
        path = self.path / "checkpoints" / name
        return load_state(path) if path.is_file() else None

    def last_step(self) -> int | None:
        """Return the number of the last finished step, 0 for the state that the run began with; None before that."""
        found = (self.path / "checkpoints").glob("step_*.pt")
        return max((int(path.stem.removeprefix("step_")) for path in found), default=None)

    def finished(self) -> dict[str, Any]:
        """Return the checkpoint of the last finished step.

        Raises:
            UserError: there is none, or it is damaged.
        """
        last = self.last_step()
        state = None if last is None else self.load(step_name(last))
        if state is None:
            raise UserError(
                f"{shown(self.path)} has not learnt a node yet; continue with 'clustnet grow' and --resume."
            )
        return state

    def network(self) -> GrownNetwork:
        """Return the network after the last finished step, in evaluation mode.

        Raises:
            UserError: there is none.
        """
        return network_of(self.finished())


def grown_waste(path: Path) -> Iterator[Waste]:
    """Yield the checkpoints of a run that it no longer needs: those of all steps but the last."""
    run = GrowRun(path)
    for step in range(run.last_step() or 0):
        file = path / "checkpoints" / step_name(step)
        if file.is_file():
            yield Waste("checkpoints of earlier steps", file, file.stat().st_size)


def step_name(step: int) -> str:
    """Return the file name of the checkpoint after a step."""
    return f"step_{step:03}.pt"


def is_grown(path: Path) -> bool:
    """Return whether a folder holds a run of ``clustnet grow``."""
    file = path / RECIPE
    if not file.is_file():
        return False
    content = read_yaml(file.read_text(encoding="utf-8"), str(file))
    return isinstance(content, dict) and content.get("method") == METHOD
