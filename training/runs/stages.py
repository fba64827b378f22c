"""Stages of a run: pre-train alone, go on later, or begin from the pre-training of another run."""

import shutil
from pathlib import Path
from typing import Literal

from clustnet.errors import UserError
from training.methods.deep_clustering.config import AFTER_PRETRAINING, DeepClusteringRecipe
from training.recipe.recipe import BaseRecipe
from training.runs.loop import train
from training.runs.run_folder import RESTARTS, RunFolder, difference

StageChoice = Literal["pretrain", "cluster"]


def train_stage(
    recipe: BaseRecipe, out: Path, stage: StageChoice, pretrained: Path | None = None, resume: bool = False
) -> None:
    """Train one stage of a run; its finished epochs are not trained again.

    Args:
        recipe: what to train.
        out: the run's folder.
        stage: ``pretrain`` stops after the pre-training, ``cluster`` goes on from there to the end.
        pretrained: a run whose pre-training replaces the run's own, see ``adopt``.
        resume: go on from the last finished epoch.

    Raises:
        UserError: as ``training.runs.loop.train``; the recipe has no stages, or nothing is pre-trained to go on from.
    """
    recipe = _staged(recipe)
    if stage == "pretrain":
        if pretrained is not None:
            raise UserError("--pretrained replaces the pre-training; leave it out, or take --stage cluster.")
        train(recipe, out, resume, recipe.pretraining.epochs)
        return
    if pretrained is not None and not resume:
        adopt(pretrained, out, recipe)
    check_pretrained(out, recipe)
    train(recipe, out, resume=True)


def _staged(recipe: BaseRecipe) -> DeepClusteringRecipe:
    """Return the recipe, or refuse it if it cannot be trained in stages."""
    if not isinstance(recipe, DeepClusteringRecipe):
        raise UserError(
            f"--stage is for the method deep_clustering, but the recipe's is {recipe.method}; leave it out."
        )
    if recipe.restarts > 1:
        raise UserError(f"--stage is for a single run, but restarts is {recipe.restarts}; add --restarts 1.")
    if recipe.pretraining.epochs == 0:
        raise UserError("--stage needs a pre-training, but pretraining.epochs is 0; raise it or leave --stage out.")
    return recipe


def check_pretrained(out: Path, recipe: DeepClusteringRecipe) -> None:
    """Check that a run has been pre-trained.

    Raises:
        UserError: it has not.
    """
    done = RunFolder(out).last_epoch()
    if done < recipe.pretraining.epochs:
        raise UserError(
            f"{out} has {done} of {recipe.pretraining.epochs} epochs of pre-training; run --stage pretrain first, or "
            "name a run that has them by --pretrained RUN."
        )


def adopt(pretrained: Path, out: Path, recipe: DeepClusteringRecipe) -> None:
    """Begin a run with the pre-training of another one, which may have had another clustering loss.

    Args:
        pretrained: the folder of the other run.
        out: the new run's folder.
        recipe: the new run's recipe.

    Raises:
        UserError: ``pretrained`` holds no run or several restarts, is not pre-trained, or was pre-trained by another
            recipe; or ``out`` holds a run.
    """
    if (pretrained / RESTARTS).is_file():
        raise UserError(f"{pretrained} holds several runs; name one of them, as in {pretrained / 'restart_0'}.")
    other, folder, epochs = RunFolder(pretrained), RunFolder(out), recipe.pretraining.epochs
    before, wanted = pretraining_of(other.recipe()), pretraining_of(recipe)
    if before.digest() != wanted.digest():
        raise UserError(f"{pretrained} was pre-trained by another recipe: {difference(before, wanted)}.")
    check_pretrained(pretrained, recipe)
    # A damaged checkpoint is refused before anything is written.
    other.load_checkpoint(epochs)
    with folder.begun(recipe, resume=False):
        folder.write_scores(other.read_scores(epochs))
        target = folder.checkpoint(epochs)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(other.checkpoint(epochs), target)


def pretraining_of(recipe: BaseRecipe) -> BaseRecipe:
    """Return a recipe with defaults for all keys read after the pre-training; equal results share the pre-training."""
    changes = {}
    for name, keys in AFTER_PRETRAINING.items():
        if name not in type(recipe).model_fields:
            continue
        default = type(recipe).model_fields[name].default
        if keys is None:
            changes[name] = default
        else:
            changes[name] = getattr(recipe, name).model_copy(update={key: getattr(default, key) for key in keys})
    return recipe.model_copy(update=changes)
