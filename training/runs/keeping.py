"""Which checkpoints a run keeps, which parts of them, and what can be removed from a run.

Kept are the last, the best by the label-free score, every n-th if the recipe says so, and those after which other runs
may begin. Only the last has the states of the optimizers, which are twice as large as the network.
"""

import math
import re
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clustnet.errors import UserError
from clustnet.files import UNFINISHED, shown
from training.recipe.recipe import BaseRecipe
from training.runs.checkpoint import has_optimizers, load_state, packed_size, save_state, without_optimizers
from training.runs.run_folder import Row, RunFolder

PRETRAIN, SCORE = "pretrain", "label_free/score"
TABLE = re.compile(r"epoch_(\d+)_\w+\.csv")
# Seconds after which an unfinished file no longer belongs to a running process.
ABANDONED = 3600


class Waste(NamedTuple):
    """What a run does not need.

    Args:
        what: its kind, in words.
        path: the file.
        size: bytes that removing it frees.
        slims: whether the file stays, without the states of its optimizers.
    """

    what: str
    path: Path
    size: int
    slims: bool = False


def best_epoch(rows: Sequence[Row]) -> int | None:
    """Return the epoch of the highest label-free score, the earliest if several have it; None before the first.

    Args:
        rows: the scores of a run. Epochs of a pre-training count only if there are no others.
    """
    trained = [row for row in rows if row["stage"] != PRETRAIN] or list(rows)
    return max(trained, key=lambda row: row.get(SCORE, -math.inf))["epoch"] if trained else None


def chosen_epoch(folder: RunFolder, which: str) -> int:
    """Return the epoch that ``which`` names: ``last``, ``best`` by the label-free score, or a number.

    Raises:
        UserError: the run has no checkpoint of it.
    """
    epochs, last = folder.epochs(), folder.last_epoch()
    if which == "last" or not epochs:
        return last
    epoch = best_epoch(folder.read_scores(last)) if which == "best" else int(which)
    if epoch not in epochs:
        found = ", ".join(map(str, epochs))
        raise UserError(f"{shown(folder.path)} has no checkpoint of epoch {epoch}; available epochs: {found}.")
    return epoch


def kept_epochs(recipe: BaseRecipe, rows: Sequence[Row], last: int) -> set[int]:
    """Return the epochs whose checkpoints are kept after epoch ``last``.

    Args:
        recipe: recipe of the run.
        rows: scores of the run so far.
        last: the last finished epoch.
    """
    nth = range(recipe.keep, last, recipe.keep) if recipe.keep else ()
    best = best_epoch(rows)
    return {last, *nth, *recipe.stage_ends} | ({best} if best else set())


def keep(folder: RunFolder, recipe: BaseRecipe, rows: Sequence[Row]) -> None:
    """Remove the checkpoints that are not kept, and the optimizers' states from the one before the last."""
    *before, last = folder.epochs()
    kept = kept_epochs(recipe, rows, last)
    for epoch in before:
        if epoch not in kept:
            folder.checkpoint(epoch).unlink()
        elif epoch == before[-1]:
            _slim(folder.checkpoint(epoch))


def _slim(path: Path) -> None:
    """Write a checkpoint again without the states of its optimizers."""
    save_state(path, without_optimizers(load_state(path)))


def resumable(folder: RunFolder, recipe: BaseRecipe, epoch: int) -> dict[str, Any]:
    """Return the checkpoint of an epoch that training goes on from.

    Raises:
        UserError: the checkpoint is missing or damaged, or has no states of optimizers and is not the end of a stage.
    """
    state = folder.load_checkpoint(epoch)
    if epoch not in recipe.stage_ends and not has_optimizers(state):
        raise UserError(
            f"{shown(folder.path)} cannot go on after epoch {epoch}: only a run's last checkpoint has the optimizers' "
            "states, and it is missing; begin another run, or export this one as it is."
        )
    return state


def waste(run: Path) -> Iterator[Waste]:
    """Yield what a run and its restarts do not need: neither to go on, nor to be exported, reviewed or reported.

    Raises:
        UserError: there is no run, or a checkpoint is damaged.
    """
    yield from _abandoned(run, (".", "checkpoints", "images"))
    folder = RunFolder(run)
    recipe, last = folder.recipe(), folder.last_epoch()
    if last:
        kept = kept_epochs(recipe, folder.read_scores(last), last)
        yield from _checkpoints(folder, kept - {last}, last)
        for path in sorted((run / "images").glob("epoch_*.csv")):
            found = TABLE.fullmatch(path.name)
            if found and int(found[1]) not in kept and int(found[1]) < last:
                yield Waste("tables of images of other epochs", path, path.stat().st_size)
    for restart in sorted(run.glob("restart_*")):
        yield from waste(restart)


def _checkpoints(folder: RunFolder, kept: Collection[int], last: int) -> Iterator[Waste]:
    """Yield what a run does not need of its checkpoints before the last one."""
    for epoch in folder.epochs():
        path = folder.checkpoint(epoch)
        if epoch == last:
            continue
        if epoch not in kept:
            yield Waste("checkpoints of other epochs", path, path.stat().st_size)
        elif has_optimizers(state := load_state(path)):
            size = path.stat().st_size - packed_size(without_optimizers(state))
            yield Waste("states of optimizers", path, size, slims=True)


def _abandoned(run: Path, places: Sequence[str]) -> Iterator[Waste]:
    """Yield the files in some folders of a run that a killed process has left half-written."""
    for path in sorted(file for place in places for file in (run / place).glob(f".*{UNFINISHED}")):
        if path.is_file() and time.time() - path.stat().st_mtime > ABANDONED:
            yield Waste("files that were never finished", path, path.stat().st_size)


def clean(found: Sequence[Waste]) -> None:
    """Remove what ``waste`` found."""
    for one in found:
        if one.slims:
            _slim(one.path)
        else:
            one.path.unlink(missing_ok=True)
