import numpy as np
import pytest
import torch
from torch import nn

from tests.training.tiny import noise
from training.models.config import MixtureModel
from training.models.inference import BATCH, Routed, batches, evaluating, route
from training.models.mixture import MixtureOfExperts, coarse_probability


@pytest.fixture(scope="module", params=[1, 2, 3])
def model(request: pytest.FixtureRequest) -> MixtureOfExperts:
    torch.manual_seed(0)
    part = MixtureModel(experts=3, channels=(4, 8), embedding=16)
    return MixtureOfExperts(part, (28, 28), (0.13,), (0.31,), request.param)


@pytest.mark.parametrize("count", [1, BATCH, 2 * BATCH + 3])
def test_batches_give_what_one_pass_gives(model: MixtureOfExperts, count: int) -> None:
    images = noise(count)
    with torch.no_grad():
        plain = model(images)
    routed = route(model, images.numpy(), hard=False)
    assert routed.expert_probability.shape == (count, 3, model.label_count)
    np.testing.assert_allclose(routed.routing, plain.log_routing.exp().numpy(), rtol=1e-4, atol=1e-6)
    expected = coarse_probability(plain.expert_logit).numpy()
    np.testing.assert_allclose(routed.expert_probability, expected, rtol=1e-4, atol=1e-6)


def test_soft_routing_mixes_the_experts(model: MixtureOfExperts) -> None:
    routed = route(model, noise(20).numpy(), hard=False)
    np.testing.assert_array_equal(routed.weights, routed.routing)
    plain = np.einsum("ne,nek->nk", routed.routing, routed.expert_probability)
    np.testing.assert_allclose(routed.coarse_probability, plain, rtol=1e-5)
    np.testing.assert_allclose(routed.coarse_probability.sum(axis=1), 1, rtol=1e-5)


def test_hard_routing_takes_the_most_probable_expert(model: MixtureOfExperts) -> None:
    routed = route(model, noise(20).numpy(), hard=True)
    chosen = routed.routing.argmax(axis=1)
    np.testing.assert_array_equal(routed.coarse_probability, routed.expert_probability[np.arange(20), chosen])


def test_numbers_are_routed_as_pixels_are(model: MixtureOfExperts) -> None:
    images = noise(20).numpy()
    found, same = (route(model, given, hard=False) for given in (images, images.astype(np.float32)))
    np.testing.assert_array_equal(found.routing, same.routing)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_mode(model: MixtureOfExperts, training: bool) -> None:
    model.train(training)
    assert isinstance(route(model, noise(2).numpy(), hard=False), Routed)
    assert model.training is training


def evaluate_and_fail(model: nn.Module) -> None:
    with evaluating(model) as device:
        assert not any(part.training for part in model.modules())
        assert not model(torch.ones(1, 2, device=device)).requires_grad
        raise KeyboardInterrupt


def test_evaluation_is_over_after_a_failure_too() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(KeyboardInterrupt):
        evaluate_and_fail(model)
    assert all(part.training for part in model.modules())
    assert model(torch.ones(1, 2)).requires_grad


@pytest.mark.parametrize("count", [1, BATCH, 2 * BATCH + 3])
def test_batches_are_the_images_in_their_order(count: int) -> None:
    images = noise(count).numpy()
    images.setflags(write=False)
    parts = list(batches(images))
    assert [len(part) for part in parts] == [min(BATCH, count - start) for start in range(0, count, BATCH)]
    np.testing.assert_array_equal(torch.cat(parts).numpy(), images)
