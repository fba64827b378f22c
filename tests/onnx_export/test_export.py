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
from clustnet.bundles.class_map import guesses
from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, Predictor
from clustnet.datasets import UNKNOWN
from clustnet.errors import UserError
from clustnet.files import sha256_of
from clustnet.scores.scores import reliability, routing_scores
from onnx_export import bundle_parts, trained
from onnx_export import export as room
from onnx_export.export import export, score_test
from onnx_export.fitting import Fitted, fit
from onnx_export.parity import ParityError
from tests.onnx_export.conftest import HARD, KINDS
from tests.training.tiny import tiny_recipe
from training.data.data import load_split
from training.models.mixture import coarse_probability
from training.runs.loop import train
from training.runs.run_folder import RunFolder

Run = Callable[[str], Path]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_served_bundle_predicts_as_the_model(bundle: Any, run: Run, kind: str) -> None:
    folder, _ = bundle(kind)
    model, recipe = RunFolder(run(kind)).load_network(), RunFolder(run(kind)).recipe()
    images = load_split(recipe.data, "train").images[:100]
    predictions = Predictor(Bundle(folder), "cpu").predict(images)
    with torch.no_grad():
        output = model(torch.from_numpy(images.copy()))
        probability = coarse_probability(output.expert_logit).numpy()
    routing = output.log_routing.exp().numpy()
    weights = np.eye(routing.shape[1])[routing.argmax(axis=1)] if kind in HARD else routing
    coarse = (weights[:, :, None] * probability).sum(axis=1)
    np.testing.assert_allclose(predictions.routing, routing, atol=1e-5)
    np.testing.assert_allclose(predictions.expert_probability, probability, atol=1e-5)
    np.testing.assert_allclose(predictions.coarse_probability, coarse, atol=1e-5)


def test_the_chosen_epoch_is_exported(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    train(tiny_recipe({"optimisation.epochs": 2, "keep": 1}), folder.path)
    images = load_split(folder.recipe().data, "train").images[:20]
    with torch.no_grad():
        first, last = (folder.load_network(epoch)(torch.from_numpy(images.copy())) for epoch in (1, 2))
    export(folder.path, tmp_path / "bundle", epoch="1")
    routing = Predictor(Bundle(tmp_path / "bundle"), "cpu").predict(images).routing
    np.testing.assert_allclose(routing, first.log_routing.exp().numpy(), atol=1e-5)
    assert np.abs(routing - last.log_routing.exp().numpy()).max() > 1e-3


@pytest.mark.parametrize("kind", HARD)
def test_chosen_experts_alone_answer_the_same(bundle: Any, run: Run, kind: str) -> None:
    folder, _ = bundle(kind)
    images = load_split(RunFolder(run(kind)).recipe().data, "train").images[:100]
    whole = Predictor(Bundle(folder), "cpu").predict(images)
    alone = Predictor(Bundle(folder), "cpu", experts="chosen").predict(images)
    for name in CONDITIONAL_OUTPUTS:
        np.testing.assert_allclose(getattr(alone, name), getattr(whole, name), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_says_what_was_exported(bundle: Any, run: Run, kind: str) -> None:
    folder, exported = bundle(kind)
    manifest, recipe = Bundle(folder).manifest, RunFolder(run(kind)).recipe()
    train = load_split(recipe.data, "train")
    assert manifest == exported.manifest
    assert (manifest.name, manifest.version) == (kind, "1")
    assert manifest.config_hash == recipe.digest()
    assert (manifest.routing == "hard") == (kind in HARD)
    assert manifest.coarse_labels == train.coarse_labels
    assert manifest.input.shape == {"colour": (32, 32, 3), "unnamed": (16, 16, 3)}.get(kind, (28, 28))
    assert manifest.input.preparation == ("fit" if kind in ("colour", "unnamed") else "mnist")
    if kind != "unnamed":
        assert manifest.class_names == train.classes
        coarse = np.zeros(len(train.classes), int)
        coarse[train.fine] = train.coarse
        assert manifest.membership().argmax(axis=0).tolist() == coarse.tolist()
        assert all(subtype.named for subtype in manifest.subtypes)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert manifest.files == {name: sha256_of(folder / name) for name in files - {"manifest.json"}}


@pytest.mark.parametrize("kind", ["soft", "hard", "colour", "clusters"])
def test_the_scores_are_those_of_test_images(bundle: Any, run: Run, kind: str) -> None:
    folder, exported = bundle(kind)
    test = load_split(RunFolder(run(kind)).recipe().data, "test")
    assert test is not None
    predictions = Predictor(Bundle(folder), "cpu").predict(test.images)
    coarse = predictions.coarse_probability
    plain = routing_scores(predictions.routing, coarse, test.coarse, test.fine, test.coarse_labels)
    assert ("coarse_accuracy" in plain) == (kind != "clusters")
    guess = guesses(coarse, predictions.class_probability, exported.manifest.membership())
    plain["class_accuracy"] = float((guess == test.fine).mean())
    probability = predictions.class_probability[np.arange(len(test)), guess]
    plain["calibration_error"] = reliability(probability, guess == test.fine).error
    plain["abstained"] = float((predictions.confidence < exported.manifest.abstention.threshold).mean())
    assert {score.name: score.value for score in exported.manifest.scores} == pytest.approx(plain, abs=1e-5)
    assert {(score.split, score.images, score.seed) for score in exported.manifest.scores} == {("test", 100, 0)}


def test_scores_without_images_are_left_out(bundle: Any, run: Run) -> None:
    folder, recipe = bundle("soft")[0], tiny_recipe()
    train, test = load_split(recipe.data, "train"), load_split(recipe.data, "test")
    assert test is not None
    low = test.take(np.flatnonzero(test.coarse == 0))
    fitted = fit(RunFolder(run("soft")).load_network(), False, recipe.reference, train, train)
    found = Predictor(Bundle(folder), "cpu").predict(low.images)
    names = {score.name for score in score_test(found, recipe, low, fitted)}
    assert "group_accuracy/0-4" in names
    assert "group_accuracy/5-9" not in names
    unknown = replace(low, fine=np.full(len(low), UNKNOWN))
    scores = {score.name: score.value for score in score_test(found, recipe, unknown, fitted)}
    loads = {f"expert_load/{expert}" for expert in range(3)}
    assert scores.keys() == {"coarse_accuracy", "cells_in_use", "routing_entropy", "abstained", *loads}
    assert scores["coarse_accuracy"] == (found.coarse_probability.argmax(axis=1) == 0).mean()


def test_data_without_fine_classes_have_no_scores(bundle: Any) -> None:
    folder, exported = bundle("unnamed")
    manifest = exported.manifest
    assert (manifest.scores, manifest.class_map.kind, manifest.calibration.images) == ([], "cells", 60)
    assert manifest.class_names[0] == "blue/1"
    assert not any(subtype.named for subtype in manifest.subtypes)
    files = {path.name for path in folder.iterdir()}
    graphs = {"gate.onnx", "mixture.onnx", "conditional.onnx", "experts"}
    assert files == {"README.md", "manifest.json", "examples", *graphs}


def test_a_bundle_without_scores_is_served(bundle: Any, run: Run) -> None:
    folder, _ = bundle("unnamed")
    train = load_split(RunFolder(run("unnamed")).recipe().data, "train")
    predictor = Predictor(Bundle(folder), "cpu")
    found = predictor.predict(train.images)
    guess = guesses(found.coarse_probability, found.class_probability, predictor.manifest.membership())
    labels = [predictor.manifest.class_names[index].partition("/")[0] for index in guess]
    expected = [train.coarse_labels[coarse] for coarse in found.coarse_probability.argmax(axis=1)]
    assert labels == expected
    assert (found.coarse_probability.argmax(axis=1) == train.coarse).mean() > 0.9


def copies_graphs(bundle: Path) -> Callable[..., None]:
    """Return a stand-in for ``write_graphs``, which takes seconds, with the graphs that it wrote of the same run."""

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
def test_a_failed_export_changes_nothing(
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


def test_a_mixture_with_another_class_map_is_refused(
    bundle: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flipped(*arguments: Any) -> Fitted:
        fitted = fit(*arguments)
        class_map = fitted.subtypes.class_map
        flipped = class_map.model_copy(update={"values": class_map.values[::-1]})
        return replace(fitted, subtypes=replace(fitted.subtypes, class_map=flipped))

    monkeypatch.setattr(room, "write_graphs", copies_graphs(bundle("soft")[0]))
    monkeypatch.setattr(trained, "fit", flipped)
    with pytest.raises(ParityError, match=r"mixture\.onnx .* in class_probability"):
        export(run("soft"), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_bundle_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UserError, match=r"mine exists and is not a bundle; choose another --out or remove it"):
        export(run("soft"), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.mark.parametrize(("name", "version"), [("two words", "1"), ("ok", "1/2"), (None, "1"), ("x" * 65, "1")])
def test_names_for_no_manifest_are_refused_first(tmp_path: Path, name: str | None, version: str) -> None:
    with pytest.raises(UserError, match="must be 1 to 64 letters, digits"):
        export(tmp_path / "no run is even looked for", tmp_path / ".hidden", name, version)


def test_a_folder_without_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run: it holds no recipe\.yaml"):
        export(tmp_path / "absent", tmp_path / "bundle")


def test_a_run_without_a_finished_epoch_is_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").begin(tiny_recipe(), resume=False)
    with pytest.raises(UserError, match="has no finished epoch yet; train it first"):
        export(tmp_path / "run", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_outside_git_there_is_no_source_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle_parts, "REPOSITORY", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert bundle_parts.source_commit() is None


def test_the_manifest_is_strict_json(bundle: Any) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (bundle("soft")[0] / "manifest.json").read_text()
    # NaN and Infinity are no JSON.
    json.loads(text, parse_constant=refuse)
