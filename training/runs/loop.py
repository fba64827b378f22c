"""The loop that every method shares: score, write, resume, stop in good order."""

import math
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from clustnet.datasets import LabelledImages
from clustnet.scores.scores import idle_experts, routing_scores
from training.data.data import CoarseData, hide_fine_labels, hold_out, load_reference, load_split
from training.engine.processes import agreed, check_batch_size, is_first, on_first, say
from training.methods import METHODS
from training.methods.method import EpochLosses, Method
from training.models.inference import route
from training.recipe.recipe import Recipe
from training.runs.label_free import LabelFree, describe, label_free
from training.runs.run_folder import Row, RunFolder

T = TypeVar("T")


def train(recipe: Recipe, out: Path, resume: bool = False, last: int | None = None) -> list[Row]:
    """Train a recipe into a run folder and return its scores, one row per epoch and split.

    Args:
        recipe: what to train.
        out: the run folder.
        resume: go on from the last finished epoch; the weights then equal an uninterrupted run's.
        last: stop after this epoch; by default after the method's last.

    Raises:
        UserError: data that cannot be read, a folder that holds another run, or a recipe that cannot be trained;
            where no epoch was finished, nothing is left behind.
        KeyboardInterrupt: stopped by the user; its message says what is safe.
    """
    check_batch_size(recipe.optimisation.batch_size)
    splits = agreed(lambda: [load_split(recipe.data, split) for split in ("train", "test")])
    agreed(lambda: load_reference(recipe.data, splits[0]))  # what cannot be used is told before the training
    seen, validation = hold_out(hide_fine_labels(splits[0], recipe.data), recipe.data.validation_images)
    folder = RunFolder(out)
    torch.use_deterministic_algorithms(True, warn_only=True)
    with folder.begun(recipe, resume):
        method = METHODS[recipe.method](seen, recipe, Accelerator(mixed_precision="no"))  # the recipe decides
        start = on_first(folder.last_epoch)
        if start:
            method.restore(on_first(lambda: folder.load_checkpoint(start)))
        try:
            rows, found = _epochs(method, recipe, folder, splits, validation, start, last or method.epochs)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{folder.last_epoch()} of {method.epochs} epochs are safe in {out}") from None
    found = found or label_free(method.model, validation, recipe)  # of a run that had been finished before
    say(describe(found, recipe))
    return rows


def _epochs(
    method: Method,
    recipe: Recipe,
    folder: RunFolder,
    splits: list[LabelledImages],
    validation: CoarseData,
    start: int,
    last: int,
) -> tuple[list[Row], LabelFree | None]:
    """Train what is missing; return all rows, and the last epoch's label-free figures if it was trained here."""
    rows, found = on_first(lambda: folder.read_scores(start)), None
    if start >= last:
        say(f"all {last} epochs were done before; nothing is trained")
        return rows, found
    with SummaryWriter(folder.tensorboard, purge_step=start + 1) if is_first() else nullcontext() as board:
        began = time.perf_counter()
        for losses in method.run(start, show_progress):
            seconds = time.perf_counter() - began
            found = label_free(method.model, validation, recipe)
            new = [_score(method, recipe, folder, split, losses, seconds) | found.row() for split in splits]
            rows += new
            if board:
                folder.write_scores(rows)
                _write_board(board, new)
                folder.save_checkpoint(losses.epoch, method.state())
                _report(new[-1], method.epochs)
            if losses.epoch == last:
                break
            began = time.perf_counter()
    return rows, found


def _score(
    method: Method,
    recipe: Recipe,
    folder: RunFolder,
    split: LabelledImages,
    losses: EpochLosses,
    seconds: float,
) -> Row:
    """Score one split after an epoch; the only place in training where fine labels are read."""
    routed, grouping = route(method.model, split.images, recipe.routing == "hard"), recipe.data.grouping()
    if is_first():
        folder.write_images(losses.epoch, split.split, split.labels, grouping.coarse(split.labels), routed)
    scores = routing_scores(routed.routing, routed.positive_probability, split.labels, grouping)
    head = {"epoch": losses.epoch, "stage": losses.stage, "split": split.split, "images": len(split)}
    return head | {"train_loss": losses.loss, "train_seconds": round(seconds, 2)} | scores


def _write_board(board: SummaryWriter, rows: list[Row]) -> None:
    for row in rows:
        for key, value in row.items():
            if isinstance(value, float):
                board.add_scalar(f"{row['split']}/{key}", value, row["epoch"])


def _report(row: Row, epochs: int) -> None:
    """Print one line of test scores, and a warning for experts that have fallen idle."""
    load = " ".join(f"{row[key]:.2f}" for key in row if key.startswith("expert_load/"))
    words = [
        f"epoch {row['epoch']:>2}/{epochs} {row['stage']}",
        f"loss {row['train_loss']:.4f}",
        *(f"binary {row[key]:.4f}" for key in row if key == "binary_accuracy"),
        *(f"{key.removeprefix('group_accuracy/')} {row[key]:.3f}" for key in row if key.startswith("group_")),
        *(f"cells {row[key]:.3f}" for key in ("cell_accuracy",) if not math.isnan(row[key])),
        f"load {load}",
        f"{row['train_seconds']:.0f} s",
    ]
    print("  ".join(words), flush=True)
    for expert in idle_experts(row) if row["stage"] != "pretrain" else ():
        print(f"warning: expert {expert} gets under 1 % of the images", file=sys.stderr)


def show_progress(batches: Iterable[T], total: int) -> Iterable[T]:
    """Show a bar on a terminal and nothing elsewhere."""
    hidden = None if is_first() else True  # None: unless on a terminal
    bar: Iterable[T] = tqdm(batches, total=total, leave=False, disable=hidden, unit="batch")
    return bar
