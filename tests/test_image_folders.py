"""Folders of images by the commands, from training to evaluation, with clusters named by reference images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.bundles.preparation import prepare
from clustnet.cli import main
from tests.image_folder import CLASSES, write_folder
from tests.training.deep import ARCHITECTURE
from training.recipe.reading import read_recipe
from training.runs.run_folder import RunFolder

RECIPE = {
    "method": "deep_clustering",
    "data": {"name": "folder", "size": [28, 28], "coarse": None, "colour": False},
    "model": {"architecture": ARCHITECTURE, "experts": 2},
    "pretraining": {"epochs": 2, "learning_rate": 0.01},
    "clustering": {"starts": 2, "refresh": 4},
    "optimisation": {"epochs": 2, "learning_rate": 0.01},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    return tmp_path / "recipe.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "bars")


def _train(recipe: Path, folder: Path, *words: str) -> int:
    return main(["train", str(recipe), "--data", f"folder:{folder}", "--out", str(recipe.parent / "run"), *words])


def _export(recipe: Path) -> Path:
    assert main(["export", str(recipe.parent / "run"), "--out", str(recipe.parent / "bundle")]) == 0
    return recipe.parent / "bundle"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of images and the bundle of a model that was trained on it; change neither."""
    place = tmp_path_factory.mktemp("folders")
    (place / "recipe.yaml").write_text(json.dumps(RECIPE))
    assert _train(place / "recipe.yaml", write_folder(place / "bars")) == 0
    return place / "bars", _export(place / "recipe.yaml")


def test_clusters_are_named_exported_and_scored(exported: tuple[Path, Path], tmp_path: Path) -> None:
    folder, bundle = exported
    mapping = json.loads((bundle / "class_mappings.json").read_text())
    assert sorted(mapping) == ["0", "1"]
    assert sorted(mapping.values()) == list(CLASSES)
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["input"] == {
        "shape": [28, 28],
        "dtype": "uint8",
        "meaning": "grey, 0 to 255",
        "preparation": "fit",
        "aspect": "crop",
    }
    assert manifest["class_map"]["data"] == "folder:reference"
    assert manifest["class_map"]["reference_indices"] == list(range(6))
    assert "class_mappings.json" in manifest["files"]
    report = tmp_path / "report"
    words = ["--data", f"folder:{folder}", "--reference-budget", "1,3", "--out", str(report)]
    assert main(["evaluate", "--bundle", str(bundle), *words]) == 0
    scores = json.loads((report / "scores.json").read_text())
    assert (scores["data"], scores["split"], scores["images"]) == ("folder", "test", 20)
    assert scores["scores"]["class_accuracy"] > 0.9
    assert (report / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_is_prepared_as_scored_ones(exported: tuple[Path, Path]) -> None:
    folder, bundle = exported
    predictor = Predictor(Bundle(bundle), "cpu")
    files = sorted((folder / "test").glob("*/*"))
    images = np.stack([prepare(file.read_bytes(), predictor.manifest.input) for file in files])
    # With one coarse label the guess is the most probable class of all.
    guess = predictor.predict(images).class_probability.argmax(axis=1)
    expected = next(score.value for score in predictor.manifest.scores if score.name == "class_accuracy")
    assert np.mean([CLASSES[g] == file.parent.name for g, file in zip(guess, files, strict=True)]) == expected


def test_the_number_of_clusters_is_estimated(recipe: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    auto = ("--model.experts", "auto")
    assert _train(recipe, folder, *auto, "--stage", "pretrain") == 0
    assert _train(recipe, folder, *auto, "--stage", "cluster") == 0
    printed = capsys.readouterr().out
    assert "clusters: 2, which has the highest average silhouette (2: 0." in printed
    run = RunFolder(recipe.parent / "run")
    assert len(run.load_checkpoint(4)["model"]["centroids"]) == 2
    assert run.spec(4).clusters == (2,)
    assert read_recipe(run.path / "recipe.yaml").to_yaml().count("experts: auto") == 1
    assert len(json.loads((_export(recipe) / "class_mappings.json").read_text())) == 2


def test_test_images_without_classes_are_not_scored(
    recipe: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in sorted((folder / "test").glob("*/*")):
        file.rename(folder / "test" / file.name)
    for name in CLASSES:
        (folder / "test" / name).rmdir()
    assert _train(recipe, folder) == 0
    manifest = json.loads((_export(recipe) / "manifest.json").read_text())
    names = {score["name"] for score in manifest["scores"]}
    assert names == {"expert_load/0", "expert_load/1", "cells_in_use", "routing_entropy", "abstained"}
    assert "evaluation.json" not in manifest["files"]
    words = ["--data", f"folder:{folder}", "--out", str(recipe.parent / "report")]
    assert main(["evaluate", "--bundle", str(recipe.parent / "bundle"), *words]) == 0
    assert "because no image has a known true class" in capsys.readouterr().out
    scores = json.loads((recipe.parent / "report" / "scores.json").read_text())["scores"]
    assert not {"class_accuracy", "nmi", "coarse_accuracy"} & scores.keys()


def test_a_bad_reference_folder_is_refused_first(
    recipe: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "reference" / "left" / "left_000.png").write_bytes(b"no image")
    assert _train(recipe, folder) == 2
    assert "reference/left/left_000.png is not a PNG, JPEG, WebP or BMP image" in capsys.readouterr().err
    assert not (recipe.parent / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.coarse", "{a: [0], b: [1]}"], "but the class of 80 train images is unknown"),
        (["--data.coarse", "{a: [0], b: [1, 2]}"], "data.coarse names the class 2, but the classes are left, right"),
        (
            ["--reference.per_class", "3"],
            "reference.per_class is set, but has no effect with a folder that has reference/",
        ),
        (["--data.size", "[0, 28]"], "data.size.0 is 0, but"),
        (["--model.experts", "auto", "--restarts", "2"], "model.experts is auto, but that works with one restart"),
        (["--model.experts", "many"], "model.experts: it is 'many', but must be a whole number or auto"),
    ],
)
def test_a_recipe_for_another_folder_says_why(
    recipe: Path, folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert _train(recipe, folder, *words) == 2
    assert message in capsys.readouterr().err


def test_without_reference_images_clusters_are_numbered(recipe: Path, folder: Path) -> None:
    shutil.rmtree(folder / "reference")
    shutil.rmtree(folder / "test")
    assert _train(recipe, folder) == 0
    bundle = _export(recipe)
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert {subtype["name"] for subtype in manifest["subtypes"]} == {"all/1", "all/2"}
    assert (manifest["class_map"]["kind"], manifest["scores"]) == ("cells", [])
    assert not (bundle / "class_mappings.json").exists()
