"""What a run is compared with: each node learnt from scratch, and all nodes learnt at once."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clustnet.datasets.folder_layout import TEST
from training.grow.batches import JointBatches, NodeBatches
from training.grow.config import GrowRecipe, StepRecipe
from training.grow.data import GrowImages
from training.grow.hierarchy import ROOT, Labels, name_of, node_of
from training.grow.learning import Learner, add_node, learner_of, new_network
from training.grow.modes import sgd
from training.grow.network import GrownNetwork
from training.grow.scores import score_node, score_walks
from training.grow.steps import positive_of
from training.grow.tables import write_rows

BASELINES = "baselines.csv"
SCRATCH, JOINT = "scratch", "joint"

Row = dict[str, Any]


def learn(recipe: GrowRecipe, run: Path, images: GrowImages, steps: Sequence[StepRecipe]) -> None:
    """Learn and score the baselines that are not in the run's table yet.

    Args:
        recipe: recipe of the run.
        run: folder of the run.
        images: images of the run.
        steps: all nodes, including those that an earlier run has learnt.
    """
    rows = read(run)
    for step in steps:
        # Nothing is learnt before the root, so it has no baseline.
        if node_of(step.node) != ROOT and not any(
            row["baseline"] == SCRATCH and row["node"] == step.node for row in rows
        ):
            network = _from_scratch(recipe, images, step)
            rows.append(_row(SCRATCH, network, images, steps, node_of(step.node)))
            write_rows(run / BASELINES, rows)
    if not any(row["baseline"] == JOINT for row in rows):
        network = _at_once(recipe, images, steps)
        walks = score_walks(network, images, TEST)
        whole = {"leaf_accuracy": walks.leaf_accuracy, "mistake_severity": walks.mistake_severity}
        rows += [_row(JOINT, network, images, steps, node_of(step.node)) | whole for step in steps]
        write_rows(run / BASELINES, rows)


def read(run: Path) -> list[Row]:
    """Return the rows of a run's table of baselines, with numbers as text; none without a table."""
    if not (run / BASELINES).is_file():
        return []
    with (run / BASELINES).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _row(baseline: str, network: GrownNetwork, images: GrowImages, steps: Sequence[StepRecipe], node: Labels) -> Row:
    found = score_node(network, images, node, TEST, positive_of(steps, images.hierarchy, node))
    print(f"{baseline} {name_of(node)}: {found.accuracy:.3f} of {found.images:,} test images right", flush=True)
    return {"baseline": baseline, "node": name_of(node), **found._asdict()}


def _from_scratch(recipe: GrowRecipe, images: GrowImages, step: StepRecipe) -> GrownNetwork:
    """Return a network whose whole path was trained for one node alone."""
    node = node_of(step.node)
    network = _with_modules(recipe, images, [node[:depth] for depth in range(len(node) + 1)])
    whole = recipe.model_copy(update={"mode": "full"})
    learner = learner_of(network, images, node, whole, step.epochs or recipe.optimisation.epochs)
    for _ in learner.run():
        pass
    return network


def _at_once(recipe: GrowRecipe, images: GrowImages, steps: Sequence[StepRecipe]) -> GrownNetwork:
    """Return a network that learnt all nodes at once, in as many batches as learning them one after the other takes."""
    nodes = [node_of(step.node) for step in steps]
    network = _with_modules(recipe, images, nodes)
    epochs = recipe.optimisation.epochs
    batches = sum((step.epochs or epochs) * NodeBatches(images, node_of(step.node), recipe).steps for step in steps)
    joint = JointBatches(images, nodes, recipe, max(1, batches // epochs))
    group = {"params": list(network.parameters()), "peak": recipe.optimisation.learning_rate}
    optimiser = sgd([group], recipe.optimisation)
    plain = recipe.model_copy(update={"mode": "full"})
    for _ in Learner(network, nodes[0], images, joint, optimiser, plain, epochs).run():
        pass
    return network


def _with_modules(recipe: GrowRecipe, images: GrowImages, nodes: Sequence[Labels]) -> GrownNetwork:
    """Return a network with untrained modules for ``nodes``, which list parents before their children."""
    network = new_network(images, recipe.seed)
    for node in nodes:
        add_node(network, images, node, recipe.seed)
    return network
