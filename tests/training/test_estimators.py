import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from tests.training.deep import ARCHITECTURE, deep_recipe
from training.data.data import CoarseData
from training.estimators import DeepClustering, fully_connected
from training.methods import METHODS

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
def test_it_is_an_estimator_as_scikit_learn_wants_them(estimator: DeepClustering, check: Callable[..., None]) -> None:
    check(estimator)


@pytest.mark.parametrize("loss", ["kl", "kmeans"])
def test_blobs_are_found_in_rows_that_were_not_fitted(loss: str) -> None:
    rows, truth = blobs(300)
    found = tiny(loss=loss).fit(rows[:200]).predict(rows[200:])
    assert adjusted_rand_score(truth[200:], found) > 0.95


def test_it_trains_as_the_recipe_of_the_same_keys_does(mnist_train: LabelledImages) -> None:
    images = mnist_train.images[:300]
    recipe = deep_recipe(model={"experts": 4}, clustering={"loss": "kmeans"}, seed=7)
    pixels = images.astype(np.float32)
    mean, spread = pixels.mean().item() / 255, pixels.std().item() / 255
    data = CoarseData(torch.from_numpy(images.copy()), torch.zeros(300), (mean,), (spread,))
    method = METHODS["deep_clustering"](data, recipe, Accelerator())
    for _ in method.run(0, lambda batches, total: batches):
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
    assert estimator.recipe_.model_dump(exclude={"data", "reference"}) == recipe.model_dump(
        exclude={"data", "reference"}
    )
    assert np.array_equal(estimator.cluster_centers_, method.model.centroids.detach().numpy())


def test_a_grid_search_over_a_pipeline_chooses_by_the_label_free_score() -> None:
    rows, _ = blobs(90)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), tiny()),
        {"deepclustering__n_clusters": [1, 3], "deepclustering__loss": ["kl", "kmeans"]},
        cv=2,
    ).fit(rows)
    assert search.best_params_["deepclustering__n_clusters"] == 3
    assert search.predict(rows).shape == (90,)


def test_the_score_is_the_mutual_information_of_the_routing_without_views_with_itself() -> None:
    rows, _ = blobs(60)
    estimator = tiny().fit(rows)
    distance = ((estimator.transform(rows)[:, None] - estimator.cluster_centers_) ** 2).sum(axis=2)
    routing = 1 / (1 + distance)
    routing /= routing.sum(axis=1, keepdims=True)
    joint, share = routing.T @ routing / len(rows), routing.mean(axis=0)
    expected = (joint * np.log(joint / np.outer(share, share))).sum()
    assert estimator.score(rows) == pytest.approx(expected, abs=1e-5)
    assert estimator.score(rows) > 0


def test_labels_are_the_nearest_centres_in_the_embedding() -> None:
    rows, _ = blobs(60)
    estimator = tiny().fit(rows)
    distance = ((estimator.transform(rows)[:, None] - estimator.cluster_centers_) ** 2).sum(axis=2)
    assert np.array_equal(estimator.labels_, distance.argmin(axis=1))


def test_a_row_of_a_colour_image_is_read_as_height_width_channels() -> None:
    images = np.random.default_rng(0).random((30, 4, 5, 3))
    rows = images.reshape(30, -1)
    estimator = tiny(2, architecture=COLOUR).fit(rows)
    scaled = (images - images.mean()) / images.std()
    pixels = torch.from_numpy(scaled).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        assert np.allclose(estimator.transform(rows), estimator.model_.encoder(pixels), atol=1e-5)


def test_the_random_numbers_of_the_caller_are_left_alone() -> None:
    rows, _ = blobs(30)
    drawn = []
    for fitted in (False, True):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        if fitted:
            tiny().fit(rows)
        drawn.append(
            (
                random.random(),  # noqa: S311 - no secret
                np.random.random(),
                torch.rand(1).item(),
            )
        )
    assert drawn[0] == drawn[1]


def test_rows_that_are_all_alike_are_one_cluster_in_use() -> None:
    with pytest.warns(UserWarning, match="distinct clusters"):
        found = tiny(2).fit_predict(np.ones((20, 4)))
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"clusters": 31}, "n_clusters=31, but should be a whole number from 1 to n_samples=30"),
        ({"clusters": "ten"}, "n_clusters='ten', but should be a whole number from"),
        ({"settings": {"data.name": "mnist"}}, "settings has the key 'data.name', but should have PART.KEY"),
        ({"settings": {"clustering.refesh": 3}}, "did you mean 'clustering.refresh'"),
        ({"settings": {"augmentation.rotation": 5}}, "Views need images"),
        ({"settings": {"augmentation.rotation": 5}, "architecture": [8, 2]}, "Views need images"),
        ({"batch_size": 0}, "DeepClustering: batch_size is 0, but must be a whole number from 1"),
        ({"loss": "l2"}, "clustering.loss is 'l2', but must be 'kl' or 'kmeans'"),
        ({"architecture": COLOUR}, "The architecture colour reads images of 60 numbers, but rows have 5"),
        ({"architecture": ()}, "layers"),
        ({"architecture": "absent.json:0"}, "absent.json cannot be read"),
        ({"random_state": -1}, "seed is -1"),
    ],
)
def test_what_is_wrong_is_said(parameters: dict[str, Any], sentence: str) -> None:
    rows, _ = blobs(30)
    with pytest.raises(UserError, match=sentence):
        tiny(**parameters).fit(rows)


def test_the_encoder_of_widths_is_that_of_dec() -> None:
    assert fully_connected(784, (500, 500, 2000, 10)).describe() == "500 500 2000 10 2000 500 500 784"


def test_a_batch_size_stands_for_the_architectures_own() -> None:
    rows = np.random.default_rng(0).random((30, 60))
    assert tiny(2, architecture=COLOUR).fit(rows).recipe_.model.architecture.batch_size == 20
    assert tiny(2, architecture=COLOUR, batch_size=7).fit(rows).recipe_.model.architecture.batch_size == 7
