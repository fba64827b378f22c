import pytest

from clustnet.bundles.groups import UNKNOWN
from clustnet.errors import UserError
from tests.training.grow.made import HIERARCHY
from training.grow.hierarchy import Hierarchy, common, name_of, node_of


def test_nodes_children_and_targets() -> None:
    assert HIERARCHY.inner == ((), ("animal",), ("animal", "canine"))
    assert HIERARCHY.children(("animal",)) == ("canine", "feline")
    assert HIERARCHY.targets(("animal", "canine")).tolist() == [0, 1, UNKNOWN, UNKNOWN]
    assert HIERARCHY.targets(()).tolist() == [0, 0, 0, 1]
    assert [HIERARCHY.height(node) for node in HIERARCHY.inner] == [3, 2, 1]


def test_names_and_nodes() -> None:
    assert [name_of(node) for node in HIERARCHY.inner] == ["all", "animal", "animal/canine"]
    assert all(node_of(name_of(node)) == node for node in HIERARCHY.inner)
    assert common(("animal", "canine", "beagle"), ("animal", "feline")) == ("animal",)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([("a", "x"), ("a", "y"), ("a",), ("b",)], "A level is missing: some images of 'a' have no finer label"),
        ([("a", "x"), ("b",)], "The node 'a' has a single child, 'x'"),
        ([("a",)], "one label in all"),
        ([], "no labels in all"),
    ],
)
def test_what_is_no_hierarchy(labels: list[tuple[str, ...]], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Hierarchy.of(labels)
