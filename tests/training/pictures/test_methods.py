"""Every method draws its pictures, and has a report."""

from pathlib import Path

import pytest

from tests.training.deep import deep_recipe
from tests.training.methods.deepcluster.test_method import recipe_of
from tests.training.methods.embedding_clustnet.test_method import recipe_in
from tests.training.tiny import tiny_recipe
from training.recipe.recipe import BaseRecipe
from training.reports.run_report import report_run
from training.runs.loop import train

pytestmark = pytest.mark.heavy

NO_FILTERS = "Filters and activations are left out, because no layer of this network looks at whole images"


def recipe(method: str, folder: Path) -> BaseRecipe:
    """Return a tiny recipe of a method, which draws its last epoch."""
    made = {
        "clustnet": lambda: tiny_recipe({"model.expert": "small_cnn"}),
        "one label": lambda: tiny_recipe({"data.coarse": None, "loss.mutual_information": 1.0}),
        "deep_clustering": deep_recipe,
        "deepcluster": lambda: recipe_of(2),
        "embedding_clustnet": lambda: recipe_in(folder),
    }
    return made[method]().model_copy(update={"vis": 9})


@pytest.mark.parametrize(
    ("method", "missing"),
    [
        ("clustnet", []),
        ("one label", ["No image has a wrong coarse label"]),
        ("deep_clustering", [NO_FILTERS, "No image has a wrong coarse label"]),
        ("deepcluster", []),
        ("embedding_clustnet", [NO_FILTERS, "Confusion matrices are left out"]),
    ],
)
def test_method_draws_and_reports(method: str, missing: list[str], tmp_path: Path) -> None:
    train(recipe(method, tmp_path), tmp_path / "run")
    page, lines = report_run(tmp_path / "run", tmp_path / "report")
    for text in (page.read_text(), (tmp_path / "run" / "vis" / "index.html").read_text()):
        assert text.count("left out, because") + text.count("No image has") == len(missing)
        assert all(sentence in text for sentence in missing)
    assert len(lines) == 1
