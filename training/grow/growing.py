"""A run of ``clustnet grow``: it learns one node at a time, measures forgetting and writes the tables."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from clustnet.datasets.folder_layout import TEST
from clustnet.errors import UserError
from clustnet.files import shown
from training.grow import baselines, reports
from training.grow.config import GrowRecipe, StepRecipe
from training.grow.data import GrowImages, load
from training.grow.hierarchy import Hierarchy, name_of, node_of
from training.grow.learning import Learner, add_node, learner_of, new_network
from training.grow.network import GrownNetwork, network_of, state_of
from training.grow.run import UNFINISHED, GrowRun, step_name
from training.grow.scores import score_node
from training.grow.sources import Item, items
from training.grow.splits import SPLITS_FILE, VALIDATION, read_splits, split_of, write_splits
from training.grow.steps import positive_of, steps_of

Row = dict[str, Any]


def grow(recipe: GrowRecipe, out: Path, resume: bool = False) -> None:
    """Learn the nodes of a recipe and write the run's folder.

    Raises:
        UserError: the data cannot be used, a node cannot be learnt, or the folder holds another run.
        KeyboardInterrupt: stopped by the user; its message says what is safe.
    """
    run = GrowRun(out)
    torch.use_deterministic_algorithms(True, warn_only=True)
    images, steps = _prepared(recipe, run, resume)
    growing = Growing(recipe, run, images, steps)
    try:
        growing.go()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{growing.done} of {len(steps)} nodes are safe in {shown(out)}") from None


def kept(run: GrowRun) -> tuple[list[Item], GrowImages]:
    """Return the images of a run with the splits that it was trained with.

    Raises:
        UserError: an image is not in the run's splits, or the images cannot be used any more.
    """
    recipe = run.recipe()
    found = items(recipe.data, run.path)
    listed = read_splits(run.path / SPLITS_FILE)
    new = next((item.name for item in found if item.name not in listed), None)
    if new is not None:
        raise UserError(f"{shown(new)} is not in {shown(run.path / SPLITS_FILE)}; move it away, or start another run.")
    hierarchy = Hierarchy.of(item.labels for item in found)
    return found, load(found, hierarchy, [listed[item.name] for item in found], recipe, run.path)


def _prepared(recipe: GrowRecipe, run: GrowRun, resume: bool) -> tuple[GrowImages, list[StepRecipe]]:
    """Return the images and the steps; what cannot be learnt is refused before anything is written."""
    run.check(recipe, resume)
    found = items(recipe.data, run.path)
    hierarchy = Hierarchy.of(item.labels for item in found)
    before = None if recipe.begin is None else GrowRun(recipe.begin).network()
    steps = steps_of(recipe, hierarchy, () if before is None else before.learnt)
    splits = _splits(recipe, run, found, resume)
    images = load(found, hierarchy, splits, recipe, run.path)
    if before is not None:
        _check_same(before, images)
    if not resume:
        write_splits(run.path / SPLITS_FILE, found, splits)
        run.begin(recipe)
    return images, steps


def _splits(recipe: GrowRecipe, run: GrowRun, found: list[Item], resume: bool) -> list[str]:
    """Return the split of each image: the run's own when it is resumed, else that of the recipe or of ``begin``."""
    if resume:
        drawn = recipe.splits.model_copy(update={"redraw": False})
        return split_of(found, drawn, run.path / SPLITS_FILE, recipe.seed)
    file = recipe.splits.file
    if file is None and recipe.begin is not None:
        file = recipe.begin / SPLITS_FILE
    return split_of(found, recipe.splits, file, recipe.seed)


def _check_same(before: GrownNetwork, images: GrowImages) -> None:
    """Raise if the network that a run starts from reads other inputs or has other children."""
    old, new = before.spec, images.spec
    if (old.image_shape, old.features, old.sha256, old.width) != (new.image_shape, new.features, new.sha256, new.width):
        raise UserError(
            "The run that begin names reads images of another size or an encoder of another kind; give data.size, "
            "data.colour and network as that run has them."
        )
    for module in old.modules:
        if module.node not in images.hierarchy.inner or images.hierarchy.children(module.node) != module.children:
            raise UserError(
                f"The run that begin names has learnt {name_of(module.node)!r} with the children "
                f"{', '.join(module.children)}, which differ from those of the images; sort the "
                "images to match, or learn that node again."
            )


class Growing:
    """The state of a run between epochs.

    Args:
        recipe: recipe of the run.
        run: folder of the run.
        images: images of the run.
        steps: the nodes to learn.
    """

    def __init__(self, recipe: GrowRecipe, run: GrowRun, images: GrowImages, steps: list[StepRecipe]) -> None:
        self.recipe, self.run, self.images, self.steps = recipe, run, images, steps
        last = run.last_step()
        if last is None:
            run.save(step_name(0), self._first())
        state = run.finished()
        self.done = run.last_step() or 0
        self.network = network_of(state).to(memory_format=torch.channels_last)
        self.matrix: list[Row] = state["matrix"]
        self.curves: list[Row] = state["curves"]
        # How many nodes an earlier run has learnt.
        self._begun = len(self.network.learnt) - self.done

    def _first(self) -> Row:
        """Return the state from which the run starts."""
        if self.recipe.begin is not None:
            return GrowRun(self.recipe.begin).finished()
        return {**state_of(new_network(self.images, self.recipe.seed)), "matrix": [], "curves": []}

    def go(self) -> None:
        """Learn what is left, score it, and write tables and pictures."""
        for number in range(self.done, len(self.steps)):
            self._learn(number)
            self.done = number + 1
            self.run.save(step_name(self.done), self._state())
            (self.run.path / "checkpoints" / UNFINISHED).unlink(missing_ok=True)
        if self.recipe.baselines:
            begun = [StepRecipe(node=name_of(node)) for node in self.network.learnt[: self._begun]]
            baselines.learn(self.recipe, self.run.path, self.images, [*begun, *self.steps])
        reports.write(self.run.path, self.images, self.network, self.matrix, self.curves)

    def _learn(self, number: int) -> None:
        """Learn one node, then score all learnt nodes."""
        step = self.steps[number]
        node, epochs = node_of(step.node), step.epochs or self.recipe.optimisation.epochs
        add_node(self.network, self.images, node, self.recipe.seed)
        learner = learner_of(self.network, self.images, node, self.recipe, epochs)
        title = f"[{number + 1}/{len(self.steps)}] {step.node}"
        bar = tqdm(self._epochs(learner, number), total=epochs, desc=title, unit="epoch", leave=False, disable=None)
        for _ in bar:
            pass
        rows = self._scores(number)
        self.matrix += rows
        own = rows[-1]
        print(f"{title}: {own['accuracy']:.3f} of {own['images']:,} test images right", flush=True)

    def _epochs(self, learner: Learner, number: int) -> Iterator[None]:
        """Train, and keep each finished epoch."""
        state = self.run.load(UNFINISHED)
        start = 0
        if state is not None and state["step"] == number:
            self.network.load_state_dict(state["model"])
            learner.optimiser.load_state_dict(state["optimiser"])
            self.curves, start = state["curves"], state["epoch"]
        for result in learner.run(start):
            found = score_node(self.network, self.images, learner.node, VALIDATION, 0)
            row = {"step": self._begun + number + 1, "node": name_of(learner.node), **result._asdict()}
            self.curves.append({**row, "validation_accuracy": found.accuracy})
            position = {"step": number, "epoch": result.epoch}
            self.run.save(UNFINISHED, {**self._state(), **learner.state(), **position})
            yield

    def _scores(self, number: int) -> list[Row]:
        """Return the scores of all learnt nodes on test images; those of the newest node come last."""
        rows = []
        for node in self.network.learnt:
            found = score_node(
                self.network, self.images, node, TEST, positive_of(self.steps, self.images.hierarchy, node)
            )
            step = {"step": self._begun + number + 1, "learnt": self.steps[number].node}
            rows.append({**step, "node": name_of(node), **found._asdict()})
        return rows

    def _state(self) -> Row:
        return {**state_of(self.network), "matrix": self.matrix, "curves": self.curves}
