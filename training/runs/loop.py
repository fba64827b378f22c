"""The loop that every method shares: score, write, resume, stop in good order."""

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator

from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.datasets.folder import Reader
from clustnet.scores.scores import idle_experts, routing_scores
from training import methods
from training.clustering.manifold import check_manifold
from training.data.data import CoarseData, hide_fine_labels, hold_out, load_split
from training.data.embedded import EmbeddedFiles
from training.engine.processes import agreed, is_first, on_first, print_once, processes
from training.engine.progress import progress
from training.methods.method import EpochLosses, Method
from training.models.inference import Routed, route
from training.pictures.gallery import Gallery
from training.recipe.recipe import BaseRecipe
from training.runs.expert_sheet import expert_sheet
from training.runs.keeping import keep, resumable
from training.runs.label_free import LabelFree, describe, label_free
from training.runs.references import class_accuracy, references
from training.runs.run_folder import Row, RunFolder
from training.runs.tracking import Tracking, check_trackers, tracking

T = TypeVar("T")
# Up to this many experts, each load is printed; with more of them, few images say nothing about an expert.
MOST_LOADS = 20
# The figures of an assignment to clusters that a line of scores shows.
ASSIGNMENT = ("assignment/nmi", "assignment/reassigned")


def train(recipe: BaseRecipe, out: Path, resume: bool = False, last: int | None = None) -> list[Row]:
    """Train a recipe into a run folder and return its scores, one row per epoch and split.

    Args:
        recipe: what to train.
        out: the run folder.
        resume: go on from the last finished epoch; the weights then equal an uninterrupted run's.
        last: stop after this epoch; by default after the method's last.

    Raises:
        UserError: the data cannot be read, the folder holds another run, or the recipe cannot be trained; if no epoch
            was finished, nothing is left behind.
        KeyboardInterrupt: stopped by the user; its message says what is safe.
    """
    check_trackers(recipe.tracking)
    splits, named, data = _load(recipe, out)
    recipe.check(data.labels)
    seen, validation = hold_out(data, recipe.data.validation_images)
    folder = RunFolder(out)
    if recipe.uses_manifold:
        agreed(check_manifold)
    torch.use_deterministic_algorithms(True, warn_only=True)
    method: Method[Any] | None = None
    with folder.begun(recipe, resume):
        try:
            # The recipe decides on mixed precision, not the accelerator.
            method = methods.method_class(recipe.method)(seen, recipe, Accelerator(mixed_precision="no"))
            start = on_first(folder.last_epoch)
            if start:
                method.restore(on_first(lambda: resumable(folder, recipe, start)))
            rows, found = _epochs(method, recipe, folder, splits, named, validation, start, last or method.epochs)
        except KeyboardInterrupt:
            safe = f"{folder.last_epoch()} of {method.epochs} epochs are" if method else "The recipe is"
            raise KeyboardInterrupt(f"{safe} safe in {out}") from None
    # A run that was finished before has trained no epoch here.
    found = found or label_free(method.model, validation, recipe.augmentation, recipe.hard)
    print_once(
        describe(found, data.labels, recipe.clusters(data.labels, seen.sizes), recipe.data.validation_images > 0)
    )
    for sentence in left_out(splits):
        print_once(sentence)
    return rows


def _load(recipe: BaseRecipe, out: Path) -> tuple[list[LabelledImages], LabelledImages | None, CoarseData]:
    """Return the splits, the reference images, and what a method may see of the training split.

    Raises:
        UserError: the data or the encoder cannot be read.
    """
    if recipe.encoder is None:
        splits, named = agreed(lambda: _load_splits(recipe))
        return splits, named, hide_fine_labels(splits[0])
    name, size, views = recipe.encoder

    def load() -> tuple[list[LabelledImages], LabelledImages | None, CoarseData]:
        embedded = EmbeddedFiles.of(name, size, RunFolder(out).embeddings)
        splits, named = _load_splits(recipe, embedded.images)
        seen = embedded.views_of(splits[0], recipe.data.path, views)
        sha256 = embedded.encoder.spec.sha256
        return splits, named, replace(hide_fine_labels(splits[0]), views=seen, encoder_sha256=sha256)

    if processes() > 1:
        # The other processes then find everything embedded.
        on_first(lambda: bool(load()))
    return agreed(load)


def _load_splits(
    recipe: BaseRecipe, reader: Reader | None = None
) -> tuple[list[LabelledImages], LabelledImages | None]:
    """Return the training split, with the test split where there is one, and the reference images."""
    train, test = load_split(recipe.data, "train", reader), load_split(recipe.data, "test", reader)
    # Reference images that cannot be used are refused before the training.
    named = references(recipe, train, reader)
    return [train] if test is None else [train, test], named


def left_out(splits: Sequence[LabelledImages]) -> list[str]:
    """Return sentences that say what is left out for lack of a test split or of fine classes."""
    sentences = []
    if len(splits) == 1:
        sentences.append("There is no test split, so all scores are of training images.")
    without = [split.split for split in splits if (split.fine == UNKNOWN).all()]
    if without:
        sentences.append(
            "Group and cell accuracy, NMI and ARI are left out, because the images of "
            f"{' and '.join(without)} have no known fine class."
        )
    return sentences


def _epochs(
    method: Method[Any],
    recipe: BaseRecipe,
    folder: RunFolder,
    splits: Sequence[LabelledImages],
    named: LabelledImages | None,
    validation: CoarseData,
    start: int,
    last: int,
) -> tuple[list[Row], LabelFree | None]:
    """Train what is missing; return all rows, and the last epoch's label-free figures if it was trained here."""
    rows, found = on_first(lambda: folder.read_scores(start)), None
    if start >= last:
        print_once(f"all {last} epochs were finished before; nothing is trained")
        return rows, found
    gallery = Gallery(folder.pictures, recipe, splits[-1], method.epochs)
    if start == 0 and gallery.wanted:
        untrained = route(method.model, splits[-1].images, recipe.hard)
        if is_first():
            gallery.draw_epoch(0, method.model, untrained)
    with tracking(recipe, folder, start) if is_first() else nullcontext() as board:
        began = time.perf_counter()
        for losses in method.run(start, EpochProgress(start, method.epochs)):
            seconds = time.perf_counter() - began
            found = label_free(method.model, validation, recipe.augmentation, recipe.hard)
            figures: Row = {"train_loss": losses.loss, "train_seconds": round(seconds, 2)}
            figures |= dict(losses.figures) | found.row()
            new, answers = _score(method, recipe, folder, splits, named, losses, figures)
            rows += new
            if board:
                folder.write_scores(rows)
                board.scores(new, losses.epoch)
                if board.trackers:
                    _show(board, recipe, splits, answers, losses.epoch)
                folder.save_checkpoint(losses.epoch, method.state())
                keep(folder, recipe, rows)
                _report(new[-1], method.epochs)
                if gallery.due(losses.epoch):
                    gallery.draw(losses.epoch, method.model, answers[-1], rows)
            if losses.epoch == last:
                break
            began = time.perf_counter()
        if found and is_first() and gallery.wanted and gallery.drawn()[-1:] != [losses.epoch]:
            # A method may settle before its last epoch.
            gallery.draw(losses.epoch, method.model, answers[-1], rows)
    return rows, found


def _score(
    method: Method[Any],
    recipe: BaseRecipe,
    folder: RunFolder,
    splits: Sequence[LabelledImages],
    named: LabelledImages | None,
    losses: EpochLosses,
    figures: Row,
) -> tuple[list[Row], list[Routed]]:
    """Score the splits after an epoch; return the scores, with ``figures`` in each row, and the model's answers.

    This is the only place in training where fine classes are read, besides the pictures of test images.
    """
    answers = [route(method.model, split.images, recipe.hard) for split in splits]
    rows = []
    for split, routed in zip(splits, answers, strict=True):
        if is_first():
            folder.write_images(losses.epoch, split, routed)
        scores = routing_scores(
            routed.routing, routed.coarse_probability, split.coarse, split.fine, split.coarse_labels
        )
        head = {"epoch": losses.epoch, "stage": losses.stage, "split": split.split, "images": len(split)}
        rows.append(head | figures | scores)
    # It comes last, as tables take their columns from the first row.
    if named is not None and splits[-1].labelled and splits[-1].split != "train":
        accuracy = class_accuracy(method.model, recipe.hard, named, answers[0], answers[-1], splits[-1])
        rows[-1]["class_accuracy"] = accuracy
    return rows, answers


def _show(
    board: Tracking, recipe: BaseRecipe, splits: Sequence[LabelledImages], answers: Sequence[Routed], epoch: int
) -> None:
    """Show what the experts are surest of, and how sure the gate is."""
    pairs = list(zip(splits, answers, strict=True))
    sheets = {split.split: expert_sheet(split, recipe.data.path, routed.routing) for split, routed in pairs}
    pictures = {f"{name}/experts": sheet for name, sheet in sheets.items() if sheet is not None}
    board.show(pictures, {f"{split.split}/certainty": routed.routing.max(axis=1) for split, routed in pairs}, epoch)


def _report(row: Row, epochs: int) -> None:
    """Print one line of scores, and a warning for experts that have fallen idle."""
    loads = [row[key] for key in row if key.startswith("expert_load/")]
    load = " ".join(f"{share:.2f}" for share in loads)
    if len(loads) > MOST_LOADS:
        load = f"{min(loads):.4f} to {max(loads):.4f} of {len(loads)} experts"
    words = [
        f"epoch {row['epoch']:>2}/{epochs} {row['stage']}",
        f"loss {row['train_loss']:.4f}",
        *(f"{key.removeprefix('assignment/')} {row[key]:.3f}" for key in row if key in ASSIGNMENT),
        *(f"coarse {row[key]:.4f}" for key in row if key == "coarse_accuracy"),
        *(f"{key.removeprefix('group_accuracy/')} {row[key]:.3f}" for key in row if key.startswith("group_")),
        *(f"classes {row[key]:.3f}" for key in row if key == "class_accuracy"),
        *(f"cells {row[key]:.3f}" for key in row if key == "cell_accuracy"),
        f"load {load}",
        f"{row['train_seconds']:.0f} s",
    ]
    print("  ".join(words), flush=True)
    if row["stage"] != "pretrain" and len(loads) <= MOST_LOADS:
        for expert in idle_experts(row):
            print(f"warning: expert {expert} gets under 1 % of the images", file=sys.stderr)


class EpochProgress:
    """Shows a bar with the remaining time for each epoch on a terminal, and nothing elsewhere.

    Args:
        start: the last epoch that was finished before.
        epochs: number of epochs in all.
    """

    def __init__(self, start: int, epochs: int) -> None:
        self._epoch, self._epochs = start, epochs

    def __call__(self, batches: Iterable[T], total: int) -> Iterable[T]:
        """Return the batches of the next epoch."""
        self._epoch += 1
        return progress(batches, total, f"epoch {self._epoch}/{self._epochs}", "batch")
