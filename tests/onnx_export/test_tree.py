"""Bundles of trees: the graphs, the walk, and what runs of it."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image
from pydantic import ValidationError

from clustnet.bundles.bundle import CONDITIONAL, MIXTURE, Bundle, Manifest
from clustnet.bundles.predictor import Predictor
from clustnet.bundles.tree import guessed, steps_of
from clustnet.errors import UserError
from evaluation.sources.bundle_source import BundleSource
from onnx_export.export import Exported, export
from onnx_export.tree_parity import looked_at
from tests.training.grow.made import CLASSES, ENOUGH, SIDE, picture, recipe_of, write_folder
from training.grow.growing import grow


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three nodes; its images lie beside it."""
    root = tmp_path_factory.mktemp("tree")
    grow(recipe_of(write_folder(root / "photos", 20), optimisation=ENOUGH), root / "run")
    return root / "run"


@pytest.fixture(scope="module")
def exported(grown: Path) -> Exported:
    return export(grown, grown.parent / "bundle")


@pytest.fixture(scope="module")
def bundle(exported: Exported, grown: Path) -> Path:
    return grown.parent / "bundle"


def drawn(count: int = 6) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    generator = np.random.default_rng(9)
    return np.stack([picture(name, generator) for name in CLASSES for _ in range(count)])


def test_manifest_has_the_tree(exported: Exported) -> None:
    manifest = exported.manifest
    assert manifest.coarse_labels == ("animal", "rock")
    assert set(manifest.class_names) == set(CLASSES)
    assert manifest.tree is not None
    assert [(label.name, label.parent) for label in manifest.tree] == [
        *(("animal", -1), ("rock", -1), ("animal/canine", 0), ("animal/feline", 0)),
        *(("animal/canine/beagle", 2), ("animal/canine/poodle", 2)),
    ]
    assert {MIXTURE, CONDITIONAL} <= set(manifest.files)
    assert exported.parity < 1e-5
    assert all(subtype.named for subtype in manifest.subtypes)


def test_grown_run_has_no_epochs(grown: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave out --epoch"):
        export(grown, tmp_path / "bundle", epoch="best")


def test_answers_walk_to_the_right_leaf(bundle: Path) -> None:
    predictor = Predictor(Bundle(bundle), "cpu")
    found = predictor.predict(drawn())
    names = np.array(predictor.manifest.class_names)[guessed(found, predictor.manifest)]
    assert (names == np.repeat(list(CLASSES), 6)).mean() > 0.8
    np.testing.assert_allclose(found.class_probability.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found.coarse_probability.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(found.label_probability[:, :2], found.coarse_probability)
    np.testing.assert_array_equal(BundleSource(bundle, "cpu").answer(drawn()).guess, guessed(found, predictor.manifest))


def test_chosen_modules_give_the_same_walk(bundle: Path) -> None:
    whole, part = Predictor(Bundle(bundle), "cpu"), Predictor(Bundle(bundle), "cpu", experts="chosen")
    one, other = whole.predict(drawn()), part.predict(drawn())
    np.testing.assert_array_equal(steps_of(one, whole.manifest), steps_of(other, part.manifest))
    looked = looked_at([label.parent for label in whole.manifest.tree or ()], one.label_probability)
    difference = np.abs(one.label_probability - other.label_probability)
    assert difference[looked].max() < 1e-5
    np.testing.assert_allclose(other.class_probability.sum(axis=1), 1, atol=1e-5)


def test_modules_off_the_way_do_not_run(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    for graph in (MIXTURE, CONDITIONAL):
        model = onnx.load(broken / graph)
        # The module of canines, the last, then gives no number.
        for weights in model.graph.initializer:
            if "nodes.2.block" in weights.name or "nodes.2.head" in weights.name:
                array = numpy_helper.to_array(weights)
                weights.CopyFrom(numpy_helper.from_array(np.full_like(array, np.nan), weights.name))
        onnx.save(model, broken / graph)
    rocks = drawn()[-6:]
    walks = Predictor(Bundle(bundle), "cpu").predict(rocks).coarse_probability
    assert (walks[:, 1] > 0.5).all()
    nan = {
        graph: np.isnan(onnxruntime.InferenceSession(broken / graph).run(["label_probability"], {"image": rocks})[0])
        for graph in (MIXTURE, CONDITIONAL)
    }
    assert nan[MIXTURE].any()
    assert not nan[CONDITIONAL].any()


def test_moved_images_are_told(grown: Path, tmp_path: Path) -> None:
    new = grown.parent / "photos" / "rock" / "new.png"
    Image.fromarray(picture("rock", np.random.default_rng(0), SIDE)).save(new)
    with pytest.raises(UserError, match=r"rock/new.png is not in .*splits.csv"):
        export(grown, tmp_path / "bundle")
    new.unlink()
    assert not (tmp_path / "bundle").exists()


def test_encoder_is_composed_into_the_graphs(grown: Path, tmp_path: Path) -> None:
    keys = {"network": {"encoder": "lite0", "width": 8}, "data": {"path": grown.parent / "photos", "size": (32, 32)}}
    grow(recipe_of(**keys), tmp_path / "run")
    manifest = export(tmp_path / "run", tmp_path / "bundle").manifest
    assert manifest.encoder is not None
    assert manifest.input.shape == (32, 32, 3)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    assert Predictor(Bundle(tmp_path / "bundle"), "cpu").predict(images).are_finite()


@pytest.mark.parametrize(
    ("place", "change", "sentence"),
    [
        (0, {"parent": 3}, "tree has a label that comes before its parent"),
        (1, {"name": "stone"}, "the top labels of the tree must be the coarse_labels"),
        (4, {"name": "animal/canine/cat"}, "and its leaves the subtypes"),
    ],
)
def test_tree_must_fit_the_labels(exported: Exported, place: int, change: dict[str, object], sentence: str) -> None:
    content = exported.manifest.model_dump(mode="json")
    content["tree"][place] |= change
    with pytest.raises(ValidationError, match=sentence):
        Manifest.model_validate(content)
