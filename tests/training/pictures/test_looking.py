import numpy as np
import pytest
import torch

from tests.training.deep import deep_recipe
from tests.training.tiny import noise, tiny_recipe
from training.models.build import build_network
from training.models.config import ConvNetModel, EmbeddingModel, MixtureModel
from training.models.mixture import GatedExperts
from training.models.spec import ConvNetClustersSpec, DeepClustersSpec, EmbeddingMixtureSpec, MixtureSpec
from training.pictures.looking import look

IMAGE = {"image_shape": (28, 28), "mean": (0.1,), "std": (0.3,)}


def mixture(labels: int = 2, **keys: object) -> GatedExperts:
    model = MixtureModel.model_validate({"experts": 3, "channels": (4, 8), "embedding": 16, **keys})
    return build_network(MixtureSpec(coarse_labels=tuple("abcd"[:labels]), model=model, **IMAGE))


@pytest.mark.parametrize(
    ("keys", "filters", "maps"),
    [
        ({"expert": "linear"}, (3, 1, 28, 28), (2, 3, 28, 28)),
        ({"expert": "linear", "labels": 4}, (3, 1, 28, 28), (2, 3, 28, 28)),
        ({"expert": "small_cnn"}, (3, 3, 5, 5), (2, 3, 14, 14)),
        ({"expert": "large_cnn"}, (3, 16, 5, 5), (2, 3, 14, 14)),
        # The encoder, as the experts read its embeddings, or nothing at all.
        ({"expert": "shared"}, (1, 4, 5, 5), (2, 1, 28, 28)),
        ({"labels": 1}, (1, 4, 5, 5), (2, 1, 28, 28)),
    ],
)
def test_experts_that_see_pixels_are_shown(
    keys: dict[str, object], filters: tuple[int, ...], maps: tuple[int, ...]
) -> None:
    model = mixture(**keys)
    found = look(model, noise(2).numpy())
    assert [part.shape for part in found] == [filters, maps]
    assert model.training


def test_weights_of_linear_experts_are_filters() -> None:
    model = mixture(expert="linear")
    filters, maps = look(model, noise(2).numpy())
    weight = model.experts[1][1].weight.detach().numpy().reshape(28, 28)
    np.testing.assert_allclose(filters[1, 0], weight, rtol=1e-5)
    pixels = model.normalise(noise(2)).numpy()[:, 0]
    np.testing.assert_allclose(maps[:, 1], weight * pixels, rtol=1e-4)
    logit = model(noise(2)).expert_logit[:, 1, 0] - model.experts[1][1].bias
    np.testing.assert_allclose(maps[:, 1].sum(axis=(1, 2)), logit.detach().numpy(), rtol=1e-3, atol=1e-4)


def test_clusters_show_their_encoder() -> None:
    part = ConvNetModel(experts=4, channels=(4, 4, 4, 4, 4), embedding=8)
    spec = ConvNetClustersSpec(
        coarse_labels=("a",), model=part, clusters=(4,), image_shape=(32, 32, 3), mean=(0.5,) * 3, std=(0.5,) * 3
    )
    filters, maps = look(build_network(spec), noise(2, (32, 32, 3)).numpy())
    assert filters.shape[:2] == (1, 4)
    assert maps.shape[:2] == (2, 1)


def test_embeddings_have_no_filters() -> None:
    spec = EmbeddingMixtureSpec(coarse_labels=("a", "b"), features=20, components=5, model=EmbeddingModel(experts=2))
    filters, maps = look(build_network(spec), torch.rand(2, 20).numpy())
    assert filters.size == maps.size == 0


def test_pooled_pixels_are_no_filters() -> None:
    recipe = deep_recipe()
    spec = DeepClustersSpec(coarse_labels=("a",), architecture=recipe.model.architecture, clusters=(4,), **IMAGE)
    filters, _ = look(build_network(spec), noise(2).numpy())
    assert filters.size == 0
    assert tiny_recipe().vis == 0
