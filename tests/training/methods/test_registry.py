import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clustnet.errors import UserError
from training import methods
from training.methods.clustnet.config import ClustNetRecipe
from training.methods.clustnet.method import ClustNetMethod
from training.recipe.reading import validated

CONFIG = """
from typing import Literal
from training.recipe.parts import Count, Part
from training.recipe.recipe import BaseRecipe

class Tree(Part):
    depth: Count = 3

class RECIPE(BaseRecipe):
    method: Literal["forest"] = "forest"
    tree: Tree = Tree()
"""


@pytest.fixture
def forest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A method that is a folder and nothing more."""
    folder = tmp_path / "forest"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "config.py").write_text(CONFIG)
    (folder / "method.py").write_text("METHOD = print\n")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    yield
    for name in [name for name in sys.modules if name.startswith("training.methods.forest")]:
        del sys.modules[name]


def test_methods_are_found_by_their_folders() -> None:
    assert {"clustnet", "deep_clustering", "discovered", "embedding_clustnet"} <= set(methods.names())
    assert methods.recipe_class("clustnet") is ClustNetRecipe
    assert methods.method_class("clustnet") is ClustNetMethod


@pytest.mark.usefixtures("forest")
def test_new_folder_is_a_new_method() -> None:
    assert "forest" in methods.names()
    recipe = validated({"method": "forest", "tree": {"depth": 4}}, "a")
    assert recipe.model_dump()["tree"] == {"depth": 4}
    assert methods.method_class("forest") is print
    with pytest.raises(UserError, match=r"forest has no key 'tree\.deph'; did you mean 'tree\.depth'"):
        validated({"method": "forest", "tree": {"deph": 4}}, "a")
    with pytest.raises(UserError, match="forest has no key 'loss'"):
        validated({"method": "forest", "loss": {}}, "a")
