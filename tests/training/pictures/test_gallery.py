import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.image_folder import write_coarse_folder
from tests.training.deep import deep_recipe
from tests.training.tiny import same_state, tiny_recipe
from training.data.data import load_split
from training.models.inference import route
from training.pictures.gallery import Gallery
from training.recipe.recipe import BaseRecipe
from training.reports.run_report import report_run
from training.runs.loop import train
from training.runs.restarts import train_restarts
from training.runs.run_folder import RunFolder

pytestmark = pytest.mark.heavy


class Addresses(HTMLParser):
    """Collects what a page shows and links to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of two epochs with its pictures; do not change it."""
    folder = tmp_path_factory.mktemp("pictures") / "run"
    train(tiny_recipe({"vis": 1}), folder)
    return folder


def test_each_epoch_has_its_pictures(drawn: Path) -> None:
    found = {path.relative_to(drawn / "vis").as_posix() for path in (drawn / "vis").rglob("*") if path.is_file()}
    each = {f"{name}_00{epoch}.png" for name in ("confusion", "embedding") for epoch in (0, 1, 2)}
    whole = {"evolution.png", "certainty.png", "film_strip.png", "filters.png", "activations.png"}
    snapshots = {f"snapshots/epoch_00{epoch}.npz" for epoch in (0, 1, 2)}
    assert found == each | whole | {"index.html", "failures.csv"} | snapshots
    for path in (drawn / "vis").glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 100


def test_page_shows_what_is_there(drawn: Path) -> None:
    page = drawn / "vis" / "index.html"
    addresses = Addresses(page).found
    files = [address for address in addresses if not address.startswith(("data:", "#"))]
    assert all((drawn / "vis" / address).is_file() for address in files)
    assert not re.search("https?:", page.read_text())
    assert {address for address in addresses if address.startswith("#")} <= {
        f"#{name}" for name in re.findall('id="([a-z]+)"', page.read_text())
    }
    assert "What is left out" not in page.read_text()


def test_drawing_changes_no_weight(drawn: Path, finished_run: Path) -> None:
    one, other = (RunFolder(run).load_checkpoint(2) for run in (drawn, finished_run))
    assert same_state(one, other)


def test_failures_are_those_of_test_images(drawn: Path) -> None:
    folder = RunFolder(drawn)
    test = load_split(folder.recipe().data, "test")
    assert test is not None
    probability = route(folder.load_network(), test.images, hard=False).coarse_probability
    wrong = set(np.flatnonzero(probability.argmax(axis=1) != test.coarse).tolist())
    with (drawn / "vis" / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["place"]) for row in rows if row["kind"] == "wrong coarse label"} == wrong


@pytest.mark.parametrize(
    ("vis", "epochs", "expected"),
    [
        (0, 5, []),
        (1, 3, [1, 2, 3]),
        (3, 8, [1, 3, 6, 8]),
        (None, 8, list(range(1, 9))),
        (None, 100, [1, *range(10, 101, 10)]),
    ],
)
def test_recipe_chooses_epochs(vis: int | None, epochs: int, expected: list[int], tmp_path: Path) -> None:
    recipe = tiny_recipe({"vis": vis})
    test = load_split(recipe.data, "test")
    assert test is not None
    gallery = Gallery(tmp_path, recipe, test, epochs)
    assert [epoch for epoch in range(1, epochs + 1) if gallery.due(epoch)] == expected


def test_fine_classes_of_training_images_stay_hidden(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    split = load_split(recipe.data, "train")
    gallery = Gallery(tmp_path, recipe, split, 1)
    assert split.labelled
    assert not gallery.images.labelled
    assert gallery.images.classes == ()


def test_last_epoch_is_drawn_where_training_settles(tmp_path: Path) -> None:
    recipe = deep_recipe(clustering={"tolerance": 0.99}, optimisation={"epochs": 5}, vis=4)
    train(recipe, tmp_path / "run")
    last = RunFolder(tmp_path / "run").last_epoch()
    assert last < 7
    assert (tmp_path / "run" / "vis" / f"embedding_{last:03}.png").is_file()


def test_resumed_run_draws_what_is_left(drawn: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe({"vis": 1})
    train(recipe, tmp_path / "run", last=1)
    train(recipe, tmp_path / "run", resume=True)
    names = [sorted(path.name for path in (run / "vis").iterdir()) for run in (drawn, tmp_path / "run")]
    assert names[0] == names[1]


def test_folder_without_classes_says_what_is_left_out(tmp_path: Path) -> None:
    write_coarse_folder(tmp_path / "photographs", ("blue", "green"))
    data = {"data.name": "folder", "data.path": str(tmp_path / "photographs"), "data.size": [28, 28]}
    keys = data | {"data.train_images": None, "data.test_images": None, "vis": 2, "optimisation.batch_size": 10}
    train(tiny_recipe(keys), tmp_path / "run")
    page = (tmp_path / "run" / "vis" / "index.html").read_text()
    assert "Confusion matrices are left out, because they need test images" in page
    assert not list((tmp_path / "run" / "vis").glob("confusion*"))
    assert "blue/" in page or "green/" in page


def test_restarts_have_page_of_all(tmp_path: Path) -> None:
    train_restarts(tiny_recipe({"vis": 2, "restarts": 2, "optimisation.epochs": 1}), tmp_path / "run")
    page = tmp_path / "run" / "vis" / "index.html"
    files = [address for address in Addresses(page).found if not address.startswith("#")]
    assert sorted(files) == ["../restart_0/vis/index.html", "../restart_1/vis/index.html", "evolution.png"]
    assert all((page.parent / file).is_file() for file in files)
    assert page.read_text().count("kept</td>") == 1


@pytest.mark.parametrize(
    "recipe", [tiny_recipe(), deep_recipe(data={"coarse": None})], ids=lambda recipe: recipe.method
)
def test_report_draws_runs_without_pictures(recipe: BaseRecipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run")
    page, lines = report_run(tmp_path / "run", tmp_path / "out")
    assert page == tmp_path / "out" / "index.html"
    assert page.is_file()
    assert not (tmp_path / "run" / "vis").exists()
    assert lines[0].startswith(f"run, epoch {RunFolder(tmp_path / 'run').last_epoch()}, test split: ")
    kept = RunFolder(tmp_path / "run").epochs()
    assert [int(path.stem[-3:]) for path in sorted(page.parent.glob("embedding_*.png"))] == kept
