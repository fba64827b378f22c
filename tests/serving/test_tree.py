"""A tree over HTTP: a module is added to a served model, and the old nodes answer bit by bit as before."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from onnx_export.export import export
from serving.keys.keys import make_key
from tests.chromium import CHROMIUM, headless
from tests.serving.server import running_server
from tests.training.grow.made import CLASSES, ENOUGH, picture, recipe_of, write_folder
from training.grow.growing import grow

# What each version learns.
NODES = (("all",), ("animal", "animal/canine"))


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Bundles of the model ``tree``, the second with two modules more."""
    root = tmp_path_factory.mktemp("versions")
    photos = write_folder(root / "photos", 20)
    begin, bundles = None, []
    for number, nodes in enumerate(NODES, 1):
        run = root / f"run_{number}"
        grow(recipe_of(photos, steps=tuple({"node": node} for node in nodes), begin=begin, optimisation=ENOUGH), run)
        export(run, root / str(number), "tree", str(number))
        begin = run
        bundles.append(root / str(number))
    return bundles


def answers(url: str, key: str, images: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/predict", json={"images": images}, headers={"X-API-Key": key}, timeout=60)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_added_modules_leave_old_answers_as_they_are(versions: list[Path], tmp_path: Path) -> None:
    secret, key = make_key("operator", ["predict", "admin"])
    (tmp_path / "keys").write_text(f"{key.line()}\n")
    repository = tmp_path / "repository"
    shutil.copytree(versions[0], repository / "tree" / "1")
    generator = np.random.default_rng(5)
    images = [picture(name, generator).tolist() for name in CLASSES for _ in range(3)]
    with running_server(repository, CLUSTNET_API_KEYS_FILE=str(tmp_path / "keys")) as server:
        before = answers(server.url, secret, images)
        shutil.copytree(versions[1], repository / "tree" / "2")
        load = f"{server.url}/v2/repository/models/tree/load"
        assert httpx.post(load, headers={"X-API-Key": secret}, timeout=60).status_code == 200
        after = answers(server.url, secret, images)
        assert (before["model"]["version"], after["model"]["version"]) == ("1", "2")
        for old, new in zip(before["predictions"], after["predictions"], strict=True):
            assert new["coarse"] == old["coarse"]
            # A longer way begins as the shorter one did, with the same numbers.
            assert new["path"][: len(old["path"])] == old["path"]
            assert new["path"][-1] == new["guess"]
        assert max(len(one["path"]) for one in after["predictions"]) > 1
        metadata = httpx.get(f"{server.url}/v2/models/tree", headers={"X-API-Key": secret}, timeout=60).json()
        assert {"name": "label_probability", "datatype": "FP32", "shape": [-1, 6]} in metadata["outputs"]
        assert "Traceback" not in server.log.read_text()


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not there")
def test_page_shows_the_way_through_the_tree(versions: list[Path], tmp_path: Path) -> None:
    Image.fromarray(picture("rock", np.random.default_rng(7))).save(tmp_path / "rock.png")
    with running_server(versions[1]) as server, headless() as browser:
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(server.url)
        page.locator("input[type=file]").first.set_input_files(tmp_path / "rock.png")
        expect(page.locator("#guess")).to_have_text("rock")
        names = page.locator("#routing li .name").all_text_contents()
        assert names == ["animal", "canine", "beagle", "poodle", "feline", "rock"]
        expect(page.locator("#routing li.best .name")).to_have_text("rock")
        expect(page.locator("#classes")).to_be_hidden()
        assert faults == []
