import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from joblib import Parallel, delayed
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from clustnet import ClustNet
from clustnet.datasets import load
from clustnet.errors import UserError
from estimators.deep_clustering import DeepClustering, fully_connected
from tests.estimators.randomness import check_callers_numbers
from tests.training.deep import ARCHITECTURE, deep_recipe
from training.data.data import CoarseData
from training.engine.progress import unwatched
from training.methods.deep_clustering.method import DeepClusteringMethod

COLOUR = {
    "name": "colour",
    "batch_size": 20,
    "layers": [
        {"type": "Input", "output_shape": [3, 4, 5]},
        {"type": "Conv2D", "num_filters": 2, "filter_size": [3, 3], "non_linearity": "linear"},
    ],
}


def tiny(clusters: int = 3, **parameters: Any) -> DeepClustering:
    """Return an estimator that fits a few rows in a moment."""
    defaults = {"architecture": (64, 8), "pretraining_epochs": 2, "epochs": 1, "random_state": 0}
    return DeepClustering(clusters, **defaults | parameters)


def blobs(rows: int) -> tuple[np.ndarray, np.ndarray]:
    return make_blobs(rows, n_features=5, centers=3, cluster_std=0.5, random_state=0)


@parametrize_with_checks([tiny()])
def test_scikit_learn_s_checks_pass(estimator: DeepClustering, check: Callable[..., None]) -> None:
    check(estimator)


@pytest.mark.parametrize("loss", ["kl", "kmeans"])
def test_blobs_are_found_in_new_rows(loss: str) -> None:
    rows, truth = blobs(300)
    found = tiny(loss=loss).fit(rows[:200]).predict(rows[200:])
    assert adjusted_rand_score(truth[200:], found) > 0.95


def test_estimator_trains_as_its_recipe() -> None:
    images = load("mnist:train").images[:300]
    recipe = deep_recipe(model={"experts": 4}, clustering={"loss": "kmeans"}, seed=7)
    pixels = images.astype(np.float32)
    mean, spread = pixels.mean().item() / 255, pixels.std().item() / 255
    coarse = torch.zeros(300, dtype=torch.int64)
    data = CoarseData(torch.from_numpy(images.copy()), coarse, ("all",), (mean,), (spread,))
    method = DeepClusteringMethod(data, recipe, Accelerator())
    for _ in method.run(0, unwatched):
        pass
    estimator = DeepClustering(
        4,
        architecture=ARCHITECTURE,
        loss="kmeans",
        pretraining_epochs=2,
        epochs=2,
        learning_rate=0.01,
        settings={"clustering.starts": 2, "clustering.refresh": 4, "augmentation": recipe.augmentation.model_dump()},
        random_state=7,
    ).fit(images.reshape(300, -1))
    assert estimator.recipe_.model_dump(exclude={"data", "reference", "vis"}) == recipe.model_dump(
        exclude={"data", "reference", "vis"}
    )
    assert np.array_equal(estimator.cluster_centers_, method.model.centroids.detach().numpy())


def test_grid_search_chooses_by_label_free_score() -> None:
    rows, _ = blobs(90)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), tiny()),
        {"deepclustering__n_clusters": [1, 3], "deepclustering__loss": ["kl", "kmeans"]},
        cv=2,
    ).fit(rows)
    assert search.best_params_["deepclustering__n_clusters"] == 3
    assert search.predict(rows).shape == (90,)


def test_score_is_mutual_information_without_views() -> None:
    rows, _ = blobs(60)
    estimator = tiny().fit(rows)
    distance = ((estimator.transform(rows)[:, None] - estimator.cluster_centers_) ** 2).sum(axis=2)
    routing = 1 / (1 + distance)
    routing /= routing.sum(axis=1, keepdims=True)
    joint, share = routing.T @ routing / len(rows), routing.mean(axis=0)
    expected = (joint * np.log(joint / np.outer(share, share))).sum()
    assert estimator.score(rows) == pytest.approx(expected, abs=1e-5)
    assert estimator.score(rows) > 0


def test_labels_are_nearest_centres_in_embedding() -> None:
    rows, _ = blobs(60)
    estimator = tiny().fit(rows)
    distance = ((estimator.transform(rows)[:, None] - estimator.cluster_centers_) ** 2).sum(axis=2)
    assert np.array_equal(estimator.labels_, distance.argmin(axis=1))


def test_row_of_colour_image_is_height_width_channels() -> None:
    images = np.random.default_rng(0).random((30, 4, 5, 3))
    rows = images.reshape(30, -1)
    estimator = tiny(2, architecture=COLOUR).fit(rows)
    scaled = (images - images.mean()) / images.std()
    pixels = torch.from_numpy(scaled).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        assert np.allclose(estimator.transform(rows), estimator.model_.encoder(pixels), atol=1e-5)


def test_callers_random_numbers_are_left_alone() -> None:
    rows, _ = blobs(30)
    settings = {"clustering.start": "manifold", "clustering.neighbours": 5}
    check_callers_numbers(lambda: tiny(settings=settings).fit(rows).score(rows))


def test_threads_find_what_one_thread_finds() -> None:
    rows, _ = blobs(90)
    parameters = [
        {"random_state": 0},
        {"random_state": 1, "loss": "kmeans"},
        {"random_state": 2, "settings": {"clustering.start": "manifold", "clustering.neighbours": 5}},
    ]

    def fit(given: dict[str, Any]) -> np.ndarray:
        estimator: DeepClustering = tiny(**given).fit(rows)
        return np.append(estimator.cluster_centers_.ravel(), [*estimator.labels_, estimator.score(rows)])

    alone = [fit(given) for given in parameters]
    threads = Parallel(n_jobs=4, prefer="threads")(delayed(fit)(given) for given in parameters * 3)
    for number, found in enumerate(threads):
        assert np.array_equal(found, alone[number % len(parameters)])


def test_other_threads_draw_their_own_numbers() -> None:
    rows, _ = blobs(60)
    alone, fitted = tiny().fit(rows).cluster_centers_, threading.Event()
    found: list[np.ndarray] = []

    def fit() -> None:
        found.append(tiny().fit(rows).cluster_centers_)
        fitted.set()

    thread, drawn = threading.Thread(target=fit), []
    torch.manual_seed(1)
    thread.start()
    while not fitted.is_set() or len(drawn) < 100:
        drawn.append(torch.rand(1).item())
        time.sleep(1e-3)
    thread.join()
    assert np.array_equal(found[0], alone)
    torch.manual_seed(1)
    assert drawn == [torch.rand(1).item() for _ in drawn]


def test_another_scale_is_refused_later() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20)).astype(float)
    pixels[0, 0], pixels[0, 1] = 0, 255
    estimator = tiny().fit(pixels)
    for later in (estimator.predict, estimator.transform, estimator.score):
        with pytest.raises(UserError, match=r"^X is on a scale from 0 to 1, but the fitted rows ranged from 0 to 255;"):
            later(pixels / 255)
        with pytest.raises(
            UserError, match=r"^X is on a scale from -1\.\d+ to 1\.\d+, but the fitted rows ranged from 0"
        ):
            later((pixels - pixels.mean()) / pixels.std())
    # A dark picture is on the right scale.
    assert len(estimator.predict(pixels[:1] / 10)) == 1


def test_equal_rows_are_one_cluster() -> None:
    with pytest.warns(UserWarning, match="distinct clusters"):
        found = tiny(2).fit_predict(np.ones((20, 4)))
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"clusters": 31}, "n_clusters=31, but must be a whole number from 1 to n_samples=30"),
        ({"clusters": "ten"}, "n_clusters='ten', but must be a whole number from"),
        ({"settings": {"data.name": "mnist"}}, "settings has the key 'data.name', but must have the form PART.KEY"),
        ({"settings": {"clustering.refesh": 3}}, "did you mean 'clustering.refresh'"),
        ({"settings": {"augmentation.rotation": 5}}, "Views need images"),
        ({"settings": {"augmentation.rotation": 5}, "architecture": [8, 2]}, "Views need images"),
        ({"batch_size": 0}, "DeepClustering: batch_size is 0, but must be a whole number from 1"),
        ({"loss": "l2"}, "clustering.loss is 'l2', but must be 'kl' or 'kmeans'"),
        ({"architecture": COLOUR}, "The architecture colour reads images of 60 numbers, but rows have 5"),
        ({"architecture": ()}, "layers"),
        ({"architecture": "absent.json:0"}, "absent.json cannot be read"),
        ({"architecture": 32}, r"architecture is 32, but must be widths, as in \(500, 10\), FILE:ENTRY or a mapping"),
        ({"architecture": (np.int64(0),)}, "num_units is 0, but must be a whole number from 1"),
        ({"batch_size": np.int64(0)}, "batch_size is 0, but must be a whole number from 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5, but must be a whole number from 1"),
        ({"epochs": True}, "optimisation.epochs is 'true', but must be a whole number"),
        ({"random_state": -1}, "seed is -1"),
        ({"random_state": 2**32}, "seed is 4294967296, but should be less than 4294967296"),
    ],
)
def test_wrong_parameter_is_one_sentence(parameters: dict[str, Any], sentence: str) -> None:
    rows, _ = blobs(30)
    with pytest.raises(UserError, match=sentence):
        tiny(**parameters).fit(rows)


def test_encoder_of_widths_is_that_of_dec() -> None:
    found = fully_connected((1, 1, 784), (500, 500, 2000, 10))
    widths = [step.after[-1] for step in (*found.encoder(), *found.decoder())]
    assert widths == [500, 500, 2000, 10, 2000, 500, 500, 784]


def test_batch_size_stands_for_architectures_own() -> None:
    rows = np.random.default_rng(0).random((30, 60))
    assert tiny(2, architecture=COLOUR).fit(rows).recipe_.model.architecture.batch_size == 20
    assert tiny(2, architecture=COLOUR, batch_size=7).fit(rows).recipe_.model.architecture.batch_size == 7


def test_integers_of_numpy_are_integers() -> None:
    rows, _ = blobs(30)
    given = {"architecture": (64, 8), "batch_size": 64, "pretraining_epochs": 2, "epochs": 1, "random_state": 3}
    settings = {"clustering.starts": 2}
    numpy = {key: np.int64(value) if isinstance(value, int) else value for key, value in given.items()}
    numpy |= {"architecture": np.array([64, 8]), "learning_rate": np.float64(1e-3)}
    expected = tiny(3, **given, settings=settings).fit(rows)
    found = tiny(np.int32(3), **numpy, settings={"clustering.starts": np.uint8(2)}).fit(rows)
    assert found.recipe_.digest() == expected.recipe_.digest()
    assert np.array_equal(found.cluster_centers_, expected.cluster_centers_)


def test_largest_seed_is_taken() -> None:
    rows, _ = blobs(30)
    settings = {"clustering.start": "manifold", "clustering.neighbours": 5}
    first, again = (tiny(random_state=2**32 - 1, settings=settings).fit(rows).cluster_centers_ for _ in range(2))
    assert np.array_equal(first, again)


def colours(images: int) -> np.ndarray:
    """Return red and blue images, uint8 [N, 4, 5, 3], in turn."""
    made = np.random.default_rng(0).integers(0, 60, (images, 4, 5, 3), np.uint8)
    made[::2, ..., 0] += 180
    made[1::2, ..., 2] += 180
    return made


@pytest.mark.parametrize("architecture", [(16, 4), COLOUR])
def test_images_of_four_dimensions_are_clustered(architecture: Any) -> None:
    images = colours(60)
    estimator = tiny(2, architecture=architecture, pretraining_epochs=20).fit(images)
    assert adjusted_rand_score(np.arange(60) % 2, estimator.labels_) == 1
    assert estimator.transform(images).shape == (60, estimator.cluster_centers_.shape[1])
    share = estimator.predict_proba(images)
    assert share.shape == (60, 2)
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(share.argmax(axis=1), estimator.predict(images))


def test_images_equal_their_flattened_rows() -> None:
    images = colours(30)
    images[0, 0, 0] = 0, 255, 0
    rows = tiny(2, architecture=COLOUR).fit(images.reshape(30, -1).astype(float))
    assert np.array_equal(tiny(2, architecture=COLOUR).fit(images).cluster_centers_, rows.cluster_centers_)


def test_saved_bundle_answers_as_the_estimator(tmp_path: Path) -> None:
    images = colours(60)
    estimator = tiny(2, architecture=COLOUR, pretraining_epochs=20).fit(images)
    loaded = ClustNet.load(estimator.save(tmp_path / "colours"))
    np.testing.assert_allclose(loaded.transform(images), estimator.predict_proba(images), atol=1e-5)
    assert set(loaded.predict(images)) == {"all/1", "all/2"}
    assert adjusted_rand_score(loaded.predict(images), estimator.labels_) == 1
    assert "mnist" not in (tmp_path / "colours" / "README.md").read_text()


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((3, 4, 5, 2), np.uint8), r"^X has the shape \[3, 4, 5, 2\], but must be images"),
        (np.zeros((3, 4, 5)), "^X has images of float64, but must have uint8 values from 0 to 255"),
        ([np.zeros((4, 5)), np.zeros((3, 5))], "^X has parts of different lengths"),
        (
            np.zeros((3, 4, 5), np.uint8),
            r"^The architecture colour reads images of \[3, 4, 5\], but those of X are \[1, ",
        ),
    ],
)
def test_wrong_images_are_refused(images: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tiny(2, architecture=COLOUR).fit(images)


def test_images_and_rows_are_not_mixed(tmp_path: Path) -> None:
    images = colours(30)
    rows = tiny(2).fit(images.reshape(30, -1))
    with pytest.raises(UserError, match=r"^X has images of \[4, 5, 3\], but the fitted X had rows"):
        rows.predict(images)
    with pytest.raises(UserError, match=r"^A bundle reads images, but this DeepClustering was fitted on rows"):
        rows.save(tmp_path / "bundle")
    with pytest.raises(UserError, match=r"but the fitted X had images of \[4, 5, 3\]"):
        tiny(2).fit(images).predict(images[:, :, :4])
