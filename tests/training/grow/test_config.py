from pathlib import Path
from typing import Any

import pytest

from clustnet.errors import UserError
from training.grow.config import read_grow_recipe

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "grow"


def test_recipes_read_back_what_they_write(tmp_path: Path) -> None:
    found = sorted(CONFIGS.glob("*.yaml"))
    assert found
    for path in found:
        recipe = read_grow_recipe(path)
        (tmp_path / "again.yaml").write_text(recipe.to_yaml())
        assert read_grow_recipe(tmp_path / "again.yaml") == recipe


def test_paths_are_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "grow.yaml").write_text("data: {path: photos}\n")
    assert read_grow_recipe(tmp_path / "grow.yaml").data.path == tmp_path / "photos"
    overrides = {"data.path": "elsewhere", "optimisation.epochs": 3}
    recipe = read_grow_recipe(tmp_path / "grow.yaml", overrides)
    assert (recipe.data.path, recipe.optimisation.epochs) == (Path("elsewhere"), 3)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"mode": "slow"}, "mode is 'slow', but must be"),
        ({"forgetting.kept": 5}, "forgetting.kept is set, but has no effect with mode frozen"),
        ({"splits.redraw": True}, "there is no splits.file to redraw"),
        (
            {"network.encoder": "lite0", "augmentation.flip": 0.5},
            "augmentation is set, but has no effect with an encoder",
        ),
        ({"method": "clustnet"}, "train it with 'clustnet train"),
        ({"data.path": None}, "data.path is null"),
        ({"epochs": 3}, "did you mean 'optimisation.epochs'"),
    ],
)
def test_wrong_recipes_are_told(tmp_path: Path, content: dict[str, Any], sentence: str) -> None:
    (tmp_path / "grow.yaml").write_text("data: {path: photos}\n")
    with pytest.raises(UserError, match=sentence):
        read_grow_recipe(tmp_path / "grow.yaml", content)
