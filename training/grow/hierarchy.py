"""The hierarchy of labels: the classes, and the children that each inner node distinguishes."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.groups import ALL, UNKNOWN
from clustnet.errors import UserError

# The labels of an image from the highest level down, such as ("animal", "canine", "beagle").
Labels = tuple[str, ...]
ROOT: Labels = ()


def name_of(node: Labels) -> str:
    """Return how a node is written: its labels joined by ``/``; the root is ``all``."""
    return "/".join(node) or ALL


def node_of(name: str) -> Labels:
    """Return the node with this written name; the inverse of ``name_of``."""
    return ROOT if name == ALL else tuple(name.split("/"))


@dataclass(frozen=True)
class Hierarchy:
    """A tree of labels of any depth, whose leaves are the classes.

    Args:
        leaves: the C classes, sorted.
    """

    leaves: tuple[Labels, ...]

    @classmethod
    def of(cls, labels: Iterable[Labels]) -> "Hierarchy":
        """Return the hierarchy of the labels of images.

        Raises:
            UserError: there are fewer than two labels, a node has a single child, or a level is missing: some images of
                a node have a finer label and others have none.
        """
        found = cls(tuple(sorted(set(labels))))
        if len(found.leaves) < 2:
            raise UserError(
                f"The images have {'one label' if found.leaves else 'no labels'} in all; a hierarchy needs two or more."
            )
        known = set(found.leaves)
        for node in found.inner:
            if node in known:
                finer = name_of((*node, found.children(node)[0]))
                raise UserError(
                    f"A level is missing: some images of {name_of(node)!r} have no finer label, while others have one, "
                    f"such as {finer!r}; give a finer label to all of them, or to none."
                )
            if len(found.children(node)) == 1:
                only = found.children(node)[0]
                raise UserError(
                    f"The node {name_of(node)!r} has a single child, {only!r}; add another, or leave that level out."
                )
        return found

    @cached_property
    def inner(self) -> tuple[Labels, ...]:
        """The nodes that have children, from the root down and by name."""
        above = {leaf[:depth] for leaf in self.leaves for depth in range(len(leaf))}
        return tuple(sorted(above, key=lambda node: (len(node), node)))

    def children(self, node: Labels) -> tuple[str, ...]:
        """Return the labels below a node, sorted; none for a leaf."""
        depth = len(node)
        return tuple(sorted({leaf[depth] for leaf in self.leaves if leaf[:depth] == node and len(leaf) > depth}))

    def targets(self, node: Labels) -> NDArray[np.int64]:
        """Return the child of a node that each leaf belongs to, int64 [C]; ``UNKNOWN`` for leaves elsewhere."""
        depth, children = len(node), self.children(node)
        return np.array(
            [children.index(leaf[depth]) if leaf[:depth] == node else UNKNOWN for leaf in self.leaves], np.int64
        )

    def height(self, node: Labels) -> int:
        """Return the number of levels below a node; 0 for a leaf."""
        return max(len(leaf) for leaf in self.leaves if leaf[: len(node)] == node) - len(node)


def common(first: Labels, second: Labels) -> Labels:
    """Return the lowest common ancestor of two nodes; a node counts as its own ancestor."""
    depth = 0
    while depth < min(len(first), len(second)) and first[depth] == second[depth]:
        depth += 1
    return first[:depth]
