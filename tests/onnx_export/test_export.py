import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, Predictor
from clustnet.errors import UserError
from clustnet.files import sha256_of
from clustnet.scores.scores import reliability, routing_scores
from onnx_export import export as room
from onnx_export.export import export, load_model, score_test
from onnx_export.fitting import Fitted, fit
from onnx_export.parity import ParityError
from tests.onnx_export.conftest import KINDS
from tests.training.tiny import tiny_recipe
from training.data.data import load_split
from training.models.mixture import MixtureOfExperts
from training.recipe.recipe import Recipe
from training.runs.run_folder import RunFolder

Run = Callable[[str], Path]


def model_of(run: Path) -> tuple[MixtureOfExperts, Recipe]:
    folder = RunFolder(run)
    recipe = folder.recipe()
    return load_model(folder, recipe, load_split(recipe.data, "train")), recipe


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_served_bundle_predicts_what_the_trained_model_does(bundle: Any, run: Run, kind: str) -> None:
    folder, _ = bundle(kind)
    model, recipe = model_of(run(kind))
    images = load_split(recipe.data, "test").images
    predictions = Predictor(Bundle(folder), "cpu").predict(images)
    with torch.no_grad():
        output = model(torch.from_numpy(images.copy()))
    routing, probability = output.log_routing.exp().numpy(), output.expert_logit.sigmoid().numpy()
    weights = np.eye(routing.shape[1])[routing.argmax(axis=1)] if recipe.routing == "hard" else routing
    np.testing.assert_allclose(predictions.routing, routing, atol=1e-5)
    np.testing.assert_allclose(predictions.expert_probability, probability, atol=1e-5)
    np.testing.assert_allclose(predictions.positive_probability, (weights * probability).sum(axis=1), atol=1e-5)


def test_a_served_bundle_says_the_same_with_the_chosen_experts_alone(bundle: Any, run: Run) -> None:
    folder, _ = bundle("hard")
    images = load_split(RunFolder(run("hard")).recipe().data, "test").images
    whole = Predictor(Bundle(folder), "cpu").predict(images)
    alone = Predictor(Bundle(folder), "cpu", experts="chosen").predict(images)
    for name in CONDITIONAL_OUTPUTS:
        np.testing.assert_allclose(getattr(alone, name), getattr(whole, name), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_tells_what_was_exported(bundle: Any, run: Run, kind: str) -> None:
    folder, exported = bundle(kind)
    manifest, recipe = Bundle(folder).manifest, RunFolder(run(kind)).recipe()
    assert manifest == exported.manifest
    assert (manifest.name, manifest.version) == (kind, "1")
    assert manifest.config_hash == recipe.digest()
    assert (manifest.routing, manifest.experts) == (recipe.routing, recipe.model.experts)
    assert manifest.grouping() == recipe.data.grouping()
    assert manifest.input.shape == ((32, 32, 3) if kind == "colour" else (28, 28))
    assert manifest.input.preparation == ("resize" if kind == "colour" else "mnist")
    assert manifest.fine_classes[0] == ("airplane" if kind == "colour" else "0")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert manifest.files == {name: sha256_of(folder / name) for name in files - {"manifest.json"}}


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_scores_are_recomputed_on_the_test_split(bundle: Any, kind: str) -> None:
    folder, exported = bundle(kind)
    test = load_split(tiny_recipe().data, "test")
    predictions = Predictor(Bundle(folder), "cpu").predict(test.images)
    grouping = exported.manifest.grouping()
    plain = routing_scores(predictions.routing, predictions.positive_probability, test.labels, grouping)
    right = predictions.class_probability.argmax(axis=1) == test.labels
    plain["class_accuracy"] = float(right.mean())
    plain["calibration_error"] = reliability(predictions.class_probability.max(axis=1), right).error
    plain["abstained"] = float((predictions.confidence < exported.manifest.abstention.threshold).mean())
    assert {score.name: score.value for score in exported.manifest.scores} == pytest.approx(plain, abs=1e-5)
    assert {(score.split, score.images, score.seed) for score in exported.manifest.scores} == {("test", 100, 0)}


def test_a_score_that_no_image_can_show_is_left_out(bundle: Any) -> None:
    folder, exported = bundle("soft")
    test = load_split(tiny_recipe().data, "test")
    low = replace(test, images=test.images[test.labels < 5], labels=test.labels[test.labels < 5])
    found = Predictor(Bundle(folder), "cpu").predict(low.images)
    names = {score.name for score in score_test(found, tiny_recipe(), low, exported.manifest.abstention)}
    assert "group_accuracy/0-4" in names
    assert "group_accuracy/5-9" not in names


def copies_graphs(bundle: Path) -> Callable[..., None]:
    """Stand in for ``write_graphs``, which takes seconds, with the graphs that it wrote of the same run."""

    def copy(folder: Path, *_: object) -> None:
        shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns("*.json", "*.md"), dirs_exist_ok=True)

    return copy


def test_an_earlier_bundle_is_replaced_whole(
    bundle: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(bundle("soft")[0], tmp_path / "bundle")
    (out / "experts" / "expert_9.onnx").touch()
    monkeypatch.setattr(room, "write_graphs", copies_graphs(bundle("shared")[0]))
    exported = export(run("shared"), out, "other", "2.0")
    assert Bundle(out).manifest == exported.manifest
    assert (exported.manifest.name, exported.manifest.version) == ("other", "2.0")
    assert sorted(path.name for path in (out / "experts").iterdir()) == ["expert_0.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("failure", [ParityError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failed_export_leaves_everything_as_it_was(
    bundle: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException], existed: bool
) -> None:
    def fail(*_: object) -> None:
        raise failure("no")

    if existed:
        shutil.copytree(bundle("soft")[0], tmp_path / "bundle")
    before = contents(tmp_path)
    monkeypatch.setattr(room, "write_graphs", lambda folder, *_: (folder / "gate.onnx").touch())
    monkeypatch.setattr(room, "check_parity", fail)
    with pytest.raises(failure, match="no"):
        export(run("soft"), tmp_path / "bundle")
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == existed


def test_a_mixture_with_another_class_map_never_becomes_a_bundle(
    bundle: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flipped(*arguments: Any) -> Fitted:
        fitted = fit(*arguments)
        values = fitted.class_map.values[::-1]
        return replace(fitted, class_map=fitted.class_map.model_copy(update={"values": values}))

    monkeypatch.setattr(room, "write_graphs", copies_graphs(bundle("soft")[0]))
    monkeypatch.setattr(room, "fit", flipped)
    with pytest.raises(ParityError, match=r"mixture\.onnx .* in class_probability"):
        export(run("soft"), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_bundle_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UserError, match=r"mine exists and is no bundle; choose another --out or remove it"):
        export(run("soft"), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.mark.parametrize(("name", "version"), [("two words", "1"), ("ok", "1/2"), (None, "1"), ("x" * 65, "1")])
def test_names_that_a_manifest_cannot_hold_are_refused_at_once(tmp_path: Path, name: str | None, version: str) -> None:
    with pytest.raises(UserError, match="must be 1 to 64 letters, digits"):
        export(tmp_path / "no run is even looked for", tmp_path / ".hidden", name, version)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run: it holds no recipe\.yaml"):
        export(tmp_path / "absent", tmp_path / "bundle")


def test_a_run_without_a_finished_epoch_is_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").begin(tiny_recipe(), resume=False)
    with pytest.raises(UserError, match="has no finished epoch yet; train it first"):
        export(tmp_path / "run", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_outside_git_there_is_no_source_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room, "REPOSITORY", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert room._source_commit() is None


def test_the_manifest_is_strict_json(bundle: Any) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (bundle("soft")[0] / "manifest.json").read_text()
    json.loads(text, parse_constant=refuse)  # NaN and Infinity are no JSON
