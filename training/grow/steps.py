"""The order in which nodes are learnt."""

from collections.abc import Sequence

from clustnet.errors import UserError
from training.grow.config import GrowRecipe, StepRecipe
from training.grow.hierarchy import ROOT, Hierarchy, Labels, name_of, node_of


def steps_of(recipe: GrowRecipe, hierarchy: Hierarchy, learnt: tuple[Labels, ...]) -> list[StepRecipe]:
    """Return the nodes to learn, in order.

    Args:
        recipe: may name the nodes; by default all that are left are learnt, from the root down.
        hierarchy: hierarchy of the labels.
        learnt: nodes that are learnt already.

    Raises:
        UserError: a step names no node with children, one that is learnt already, one before its parent, or a positive
            child that the node does not have.
    """
    if recipe.steps is None:
        return [StepRecipe(node=name_of(node)) for node in hierarchy.inner if node not in learnt]
    known = set(learnt)
    for step in recipe.steps:
        node = node_of(step.node)
        if node not in hierarchy.inner:
            choices = ", ".join(map(name_of, hierarchy.inner))
            raise UserError(f"steps: {step.node!r} is not a node with children; the nodes are {choices}.")
        if node in known:
            raise UserError(f"steps: {step.node!r} is already learnt; name each node once.")
        if node != ROOT and node[:-1] not in known:
            raise UserError(
                f"steps: {step.node!r} comes before {name_of(node[:-1])!r}, above it; learn that one first."
            )
        if step.positive is not None and step.positive not in hierarchy.children(node):
            choices = ", ".join(hierarchy.children(node))
            raise UserError(f"steps: {step.node!r} has no child {step.positive!r}; its children are {choices}.")
        known.add(node)
    return list(recipe.steps)


def positive_of(steps: Sequence[StepRecipe], hierarchy: Hierarchy, node: Labels) -> int:
    """Return the index of the positive child of a node: the step's, else the first with finer labels, else 0."""
    children = hierarchy.children(node)
    named = next((step.positive for step in steps if node_of(step.node) == node and step.positive), None)
    if named is not None:
        return children.index(named)
    return next((number for number, child in enumerate(children) if (*node, child) in hierarchy.inner), 0)
