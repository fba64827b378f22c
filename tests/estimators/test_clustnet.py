import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from clustnet import ClustNet
from clustnet.bundles.bundle import Bundle
from clustnet.errors import UserError
from onnx_export.export import export
from review.command import main as review
from tests.encoders import COLOURS, write_encoder
from tests.estimators.randomness import check_callers_numbers
from tests.serving.server import running_service

KINDS = [(label, number) for label in COLOURS for number in range(2)]
TEXTS = "the check compares what predict returns as numbers, but the names of subtypes are texts"
OTHER_CLASSES = "predict returns the subtypes inside the labels that are fitted, not these labels"
EXPECTED = {
    "check_estimators_pickle": TEXTS,
    "check_classifier_data_not_an_array": TEXTS,
    "check_supervised_y_2d": TEXTS,
    "check_methods_sample_order_invariance": TEXTS,
    "check_methods_subset_invariance": TEXTS,
    "check_fit_idempotent": TEXTS,
    "check_classifiers_classes": OTHER_CLASSES,
    "check_classifiers_train": OTHER_CLASSES,
}


def quick(subtypes: Any = 1, **parameters: Any) -> ClustNet:
    return ClustNet(subtypes, **{"epochs": 1, "random_state": 0} | parameters)


class Coarse(ClustNet):
    """Predicts the labels that were fitted, so that scikit-learn's checks can compare them."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # One epoch teaches little.
        tags.classifier_tags.poor_score = True
        return tags

    @property
    def classes_(self) -> np.ndarray:
        return self.coarse_labels_

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        return self.predict_coarse(X)

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        return self._answers(X).coarse_probability


@parametrize_with_checks([quick()], expected_failed_checks=lambda _: EXPECTED)
def test_scikit_learn_s_checks_pass(estimator: ClustNet, check: Callable[..., None]) -> None:
    check(estimator)


def coarse_checks() -> list[Any]:
    pairs = estimator_checks_generator(Coarse(1, epochs=1, random_state=0))
    chosen = [pair for pair in pairs if pair[1].func.__name__ in EXPECTED]
    # Processes that share the tests need the same names for them.
    return [pytest.param(*pair, id=f"{pair[1].func.__name__}-{number}") for number, pair in enumerate(chosen)]


@pytest.mark.parametrize(("estimator", "check"), coarse_checks())
def test_left_out_checks_pass_for_coarse_labels(estimator: Coarse, check: Callable[..., None]) -> None:
    check(estimator)


def photographs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return photographs uint8 [4 count, 20, 24, 3] of two labels with two colours each, the labels and the kinds."""
    generator = np.random.default_rng(seed)
    kinds = np.tile(np.arange(4), count)
    colours = np.array([COLOURS[label][number] for label, number in KINDS])
    noise = generator.normal(0, 20, (len(kinds), 20, 24, 3))
    images = np.clip(colours[kinds][:, None, None] + noise, 0, 255).astype(np.uint8)
    return images, np.array([KINDS[kind][0] for kind in kinds]), kinds


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoders") / "tiny").parent)


@pytest.fixture(scope="module")
def fitted(encoder: str) -> ClustNet:
    """An estimator that was fitted on photographs; do not change it."""
    images, labels, _ = photographs(20)
    return ClustNet(2, encoder=encoder, random_state=0).fit(images, labels)


@pytest.fixture(scope="module")
def bundle(fitted: ClustNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.save(tmp_path_factory.mktemp("bundles") / "photographs")


def embeddings(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings float [4 count, 5] of the labels 10 and 9 with two kinds each, the labels and the kinds."""
    kinds = np.tile(np.arange(4), count)
    rows = np.eye(5)[kinds] + np.random.default_rng(0).normal(0, 0.05, (len(kinds), 5))
    return rows, np.where(kinds < 2, 10, 9), kinds


def test_subtypes_of_new_photographs_are_found(fitted: ClustNet) -> None:
    images, labels, kinds = photographs(10, seed=1)
    assert fitted.classes_.tolist() == ["cold/1", "cold/2", "warm/1", "warm/2"]
    assert adjusted_rand_score(kinds, fitted.predict(images)) == 1
    assert np.array_equal(fitted.predict_coarse(images), labels)
    assert fitted.score(images, labels) == 1
    share, routing = fitted.predict_proba(images), fitted.transform(images)
    assert (share.shape, routing.shape) == ((40, 4), (40, 2))
    np.testing.assert_allclose([share.sum(axis=1), routing.sum(axis=1)], 1, atol=1e-5)
    assert fitted.get_feature_names_out().tolist() == ["clustnet0", "clustnet1"]


def test_loaded_bundle_predicts_as_the_estimator(fitted: ClustNet, bundle: Path) -> None:
    images, labels, _ = photographs(10, seed=1)
    loaded = ClustNet.load(bundle)
    assert np.array_equal(loaded.predict(images), fitted.predict(images))
    np.testing.assert_allclose(loaded.predict_proba(images), fitted.predict_proba(images), atol=1e-5)
    np.testing.assert_allclose(loaded.transform(images), fitted.transform(images), atol=1e-5)
    assert loaded.score(images, labels) == 1
    again = pickle.loads(pickle.dumps(loaded))  # noqa: S301 - our own
    assert np.array_equal(again.predict(images), loaded.predict(images))
    with pytest.raises(UserError, match=r"^This ClustNet was loaded from a bundle, which has no run"):
        loaded.name("cold/1", "sea")


def test_service_answers_as_the_estimator(fitted: ClustNet, bundle: Path) -> None:
    images, _, _ = photographs(1, seed=1)
    body = {"images": images[:, 2:18, 4:20].tolist()}
    with running_service(bundle) as url:
        answers = httpx.post(f"{url}/predict", json=body).json()["predictions"]
    assert [one["guess"]["label"] for one in answers] == fitted.predict(images[:, 2:18, 4:20]).tolist()


def test_names_and_merges_are_those_of_the_review(encoder: str, tmp_path: Path) -> None:
    images, labels, kinds = photographs(20)
    estimator = ClustNet(2, encoder=encoder, random_state=0, run=tmp_path / "run").fit(images, labels)
    sea = estimator.predict(images[kinds == 0])[0]
    estimator.name(sea, "sea").merge("warm/1", "warm/2")
    assert set(estimator.predict(images[kinds == 0])) == {"sea"}
    assert len(estimator.classes_) == 3
    review([str(tmp_path / "run"), "--rename", "warm/1=sun"])
    export(tmp_path / "run", tmp_path / "bundle")
    assert {subtype.name for subtype in Bundle(tmp_path / "bundle").manifest.subtypes} == {*estimator.classes_} - {
        "warm/1"
    } | {"sun"}
    with pytest.raises(UserError, match=r"have different coarse labels, so they cannot be merged"):
        estimator.merge("sea", "warm/1")
    with pytest.raises(UserError, match=r"^There is no subtype 'sky'; the subtypes are cold/1"):
        estimator.name("sky", "sea")
    with pytest.raises(UserError, match=r"^The run .* already exists; name an empty folder"):
        clone(estimator).fit(images, labels)


def test_split_of_photographs_trains_again(encoder: str) -> None:
    images, labels, kinds = photographs(20)
    estimator = ClustNet({"cold": 1, "warm": 2}, encoder=encoder, random_state=0).fit(images, labels)
    assert len(set(estimator.predict(images[kinds < 2]))) == 1
    estimator.split("cold/1")
    assert estimator.classes_.tolist() == ["cold/1", "cold/2", "warm/1", "warm/2"]
    assert adjusted_rand_score(kinds, estimator.predict(images)) > 0.9
    assert estimator.run_ is not None
    assert estimator.run_.name == "run-2"


def test_split_of_embeddings_trains_again() -> None:
    rows, labels, kinds = embeddings(30)
    estimator = ClustNet(1, random_state=0).fit(rows, labels).name("9/1", "nine")
    estimator.split("nine").split("10/1")
    assert sorted(estimator.classes_) == ["10/1", "10/2", "9/2", "nine"]
    assert adjusted_rand_score(kinds, estimator.predict(rows)) == 1
    assert set(estimator.predict_coarse(rows)) == {9, 10}


def test_plot_shows_every_subtype(fitted: ClustNet) -> None:
    texts = [text.get_text() for axes in fitted.plot().axes for text in axes.texts]
    assert [text.split("\n")[0] for text in texts] == fitted.classes_.tolist()
    rows, labels, _ = embeddings(20)
    (axes,) = ClustNet(2, random_state=0).fit(rows, labels).plot().axes
    assert len(axes.collections) == 4


def test_same_seed_gives_same_result() -> None:
    rows, labels, _ = embeddings(30)
    first, again = (quick(2, random_state=3).fit(rows, labels).predict_proba(rows) for _ in range(2))
    assert np.array_equal(first, again)


def test_callers_random_numbers_are_left_alone() -> None:
    rows, labels, _ = embeddings(30)
    check_callers_numbers(lambda: quick(2).fit(rows, labels))
    assert not torch.are_deterministic_algorithms_enabled()


def test_pickled_estimator_predicts_without_its_run(fitted: ClustNet) -> None:
    images, labels, _ = photographs(5)
    copy = pickle.loads(pickle.dumps(quick().fit(*embeddings(10)[:2])))  # noqa: S301 - our own
    assert copy.predict(embeddings(10)[0]).shape == (40,)
    with pytest.raises(UserError, match=r"^The run of this estimator was temporary and is gone"):
        copy.name("9/1", "nine")
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    assert np.array_equal(again.predict(images), fitted.predict(images))
    assert again.score(images, labels) == 1


def test_temporary_run_goes_with_the_estimator() -> None:
    estimator = quick().fit(*embeddings(10)[:2])
    run = estimator.run_
    assert run is not None
    assert run.is_dir()
    del estimator
    assert not run.parent.exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y": np.zeros(40)}, r"^y has one class, 0\.0, but ClustNet needs coarse labels of two classes or more"),
        ({"y": np.zeros(39)}, "inconsistent numbers of samples"),
        ({"X": np.zeros((40, 5, 5))}, "^X has images of float64, but must have uint8 values from 0 to 255"),
        ({"X": np.zeros((40, 5, 5, 4), np.uint8)}, r"^X has the shape \[40, 5, 5, 4\], but must be images"),
        ({"X": np.full((40, 5), np.nan)}, "contains NaN"),
        (
            {"X": np.zeros((40, 5, 5), np.uint8)},
            "^There is no image to train on; images.parquet:0 equals",
        ),
        ({"y": np.array(["a/b", "c"] * 20)}, "^The coarse label 'a/b' cannot name a folder"),
        ({"subtypes": {"eleven": 2}}, "'eleven', but the coarse labels are 10, 9; use these"),
        ({"subtypes": 0}, "^ClustNet: subtypes"),
        ({"epochs": 0}, "^ClustNet: epochs: Input should be"),
        ({"random_state": -1}, "^ClustNet: seed: Input should be"),
        ({"encoder": "absent"}, "^There is no encoder 'absent'"),
    ],
)
def test_wrong_input_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    rows, labels, _ = embeddings(10)
    given = {"X": rows, "y": labels} | {key: changes[key] for key in changes if key in "Xy"}
    parameters = {key: value for key, value in changes.items() if key not in "Xy"}
    with pytest.raises(ValueError, match=sentence):
        quick(**parameters).fit(given["X"], given["y"])


def test_label_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    rows, labels, _ = embeddings(10)
    rows[:2], labels = rows[2:4], np.where(np.arange(40) < 2, 11, labels)
    with pytest.raises(UserError, match=r"^No image of the coarse label '11' can be used"):
        quick(run=tmp_path / "run").fit(rows, labels)
    assert not (tmp_path / "run").exists()


def test_labels_that_are_written_alike_are_refused() -> None:
    rows, labels, _ = embeddings(10)
    mixed = np.where(labels == 9, np.array("9", object), np.array(9, object))
    with pytest.raises(ValueError, match="y"):
        quick().fit(rows, mixed)


def test_estimator_refuses_what_it_was_not_fitted_on(fitted: ClustNet, tmp_path: Path) -> None:
    rows, labels, _ = embeddings(10)
    with pytest.raises(UserError, match=r"^X has rows of 5 numbers, but this ClustNet was fitted on images"):
        fitted.predict(rows)
    estimator = quick().fit(rows, labels)
    with pytest.raises(UserError, match=r"^X has images, but this ClustNet was fitted on rows of 5 numbers"):
        estimator.predict(np.zeros((2, 5, 5), np.uint8))
    with pytest.raises(UserError, match=r"^A bundle reads images, but this ClustNet was fitted on embeddings"):
        estimator.save(tmp_path / "bundle")
    for method in (ClustNet().predict, ClustNet().save):
        with pytest.raises(NotFittedError, match=r"^This ClustNet instance is not fitted yet"):
            method(rows)
    with pytest.raises(UserError, match=r"^merge needs two subtypes"):
        estimator.merge("9/1")


def test_images_without_an_encoder_are_fitted(tmp_path: Path) -> None:
    images, labels, _ = photographs(10)
    grey = images[..., 0]
    estimator = quick(2, encoder="none").fit(grey, labels)
    loaded = ClustNet.load(estimator.save(tmp_path / "bundle"))
    np.testing.assert_allclose(loaded.predict_proba(grey), estimator.predict_proba(grey), atol=1e-5)
    assert np.array_equal(loaded.predict(grey), estimator.predict(grey))


def test_importing_clustnet_loads_no_torch() -> None:
    code = (
        "import sys, clustnet; assert 'torch' not in sys.modules and 'sklearn' not in sys.modules; "
        "assert set(clustnet.__all__) == {'ClustNet', 'DeepClustering', '__version__'}; "
        "sys.modules['accelerate'] = None\n"
        "try: clustnet.ClustNet\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ClustNet needs accelerate; install it with: pip install '.[export]' in the repository\n"
