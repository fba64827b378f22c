import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mutual_info_score

from clustnet.datasets import LabelledImages
from tests.training.tiny import coarse, tiny_recipe
from training.data.data import CoarseData
from training.models.inference import route
from training.models.mixture import MixtureOfExperts
from training.recipe.recipe import Recipe
from training.runs.label_free import LabelFree, describe, label_free

APART = np.eye(3, dtype=np.float32) / 3


def figures(joint: np.ndarray) -> LabelFree:
    return LabelFree(100, 0.99, -0.02, (1.0, 0.9), joint.astype(np.float32))


def model_of(recipe: Recipe, data: CoarseData) -> MixtureOfExperts:
    torch.manual_seed(0)
    return MixtureOfExperts(recipe.model, (28, 28), data.mean, data.std)


@pytest.mark.parametrize("routing", ["soft", "hard"])
def test_the_likelihood_is_scikit_learns_log_loss(mnist_train: LabelledImages, routing: str) -> None:
    recipe, data = tiny_recipe({"routing": routing}), coarse(mnist_train, 120)
    model = model_of(recipe, data)
    found = label_free(model, data, recipe)
    probability = route(model, data.images.numpy(), routing == "hard").positive_probability
    assert found.log_likelihood == pytest.approx(-log_loss(data.targets.numpy(), probability), abs=1e-5)
    assert found.binary_accuracy == ((probability > 0.5) == (data.targets.numpy() > 0.5)).mean()
    assert found.images == 120


def test_sure_routing_has_the_mutual_information_of_its_experts(mnist_train: LabelledImages) -> None:
    """Without augmentation the view is the image, so that it is the experts' entropy, as in scikit-learn."""
    recipe, data = tiny_recipe(), coarse(mnist_train, 200)
    model = model_of(recipe, data)
    with torch.no_grad():
        model.head.weight *= 1_000_000  # so sure that each image goes to one expert
    experts = route(model, data.images.numpy(), hard=False).routing.argmax(axis=1)
    found = label_free(model, data, recipe)
    for group, value in enumerate(found.mutual_information):
        chosen = experts[data.targets.numpy() == group]
        assert value == pytest.approx(mutual_info_score(chosen, chosen), abs=1e-3)
    assert found.score == pytest.approx(found.log_likelihood + sum(found.mutual_information))


def test_views_lower_it_and_repeat(mnist_train: LabelledImages) -> None:
    plain, data = tiny_recipe(), coarse(mnist_train, 100)
    model = model_of(plain, data)
    with torch.no_grad():
        model.head.weight *= 100  # so sure that a view can change much
    turned = tiny_recipe({"augmentation.rotation": 90, "augmentation.shift": 0.5})
    before = torch.random.get_rng_state()
    first, second = label_free(model, data, turned), label_free(model, data, turned)
    assert first.mutual_information == second.mutual_information
    assert sum(first.mutual_information) < sum(label_free(model, data, plain).mutual_information)
    assert first.log_likelihood == label_free(model, data, plain).log_likelihood  # measured on the images themselves
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training


def test_a_group_without_images_counts_nothing(mnist_train: LabelledImages) -> None:
    data = coarse(mnist_train, 50)
    one_sided = replace(data, targets=torch.zeros(50))
    found = label_free(model_of(tiny_recipe(), data), one_sided, tiny_recipe())
    assert found.mutual_information[1] == pytest.approx(0, abs=1e-5)
    assert math.isfinite(found.score)


def test_nothing_has_collapsed_where_every_cluster_is_apart() -> None:
    assert figures(np.stack([APART, APART])).collapse(("low", "high"), (3, 3)) == []
    assert describe(figures(np.stack([APART, APART])), tiny_recipe()).splitlines()[-1] == (
        "no collapse: every expert is in use in both groups"
    )


def test_collapse_is_said_in_words() -> None:
    idle = np.diag([0.5, 0.5, 0.0])
    split = np.array([[0.2, 0.1, 0], [0.1, 0.2, 0], [0, 0, 0.4]])
    assert figures(np.stack([idle, idle])).collapse(("low", "high"), (3, 3)) == [
        "under 1 % of the images of either group go to expert 2"
    ]
    assert figures(np.stack([APART, idle])).collapse(("low", "high"), (3, 3)) == [
        "in group high under 1 % go to expert 2, so classes are merged there"
    ]
    assert figures(np.stack([split, APART])).collapse(("low", "high"), (3, 3)) == [
        "in group low an image and its view meet at one expert with a probability of only 67% at worst (experts 0, 1), "
        "so classes may be split or merged there"
    ]
    assert figures(np.stack([APART, idle])).collapse(("low", "high"), (3, 2)) == []  # as was asked for
    assert "collapse: under 1 % of the images" in describe(figures(np.stack([idle, idle])), tiny_recipe())


def test_the_description_names_the_images() -> None:
    text = describe(figures(np.stack([APART, APART])), tiny_recipe({"data.validation_images": 100}))
    assert text.splitlines()[0] == (
        "label-free score 1.8800: mutual information 1.9000 of at most 2.20 nats, log-likelihood -0.0200, "
        "binary accuracy 0.9900 (100 validation images)"
    )
