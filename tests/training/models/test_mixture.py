import pytest
import torch
from torch import Tensor

from tests.training.tiny import noise
from training.models.config import MixtureModel
from training.models.mixture import (
    MixtureOfExperts,
    coarse_probability,
    straight_through,
)

CAPACITIES = ["linear", "small_cnn", "large_cnn", "shared"]
SHAPES = [(28, 28), (32, 32, 3)]
FREE = {1: 0, 2: 1, 3: 3, 5: 5}


def mixture(
    expert: str = "linear", shape: tuple[int, ...] = (28, 28), experts: int = 3, labels: int = 2
) -> MixtureOfExperts:
    torch.manual_seed(0)
    model = MixtureModel.model_validate({"expert": expert, "experts": experts, "channels": (4, 8), "embedding": 16})
    channels = shape[2] if len(shape) == 3 else 1
    return MixtureOfExperts(model, shape, (0.5,) * channels, (0.25,) * channels, labels)


def plain_probability(logit: Tensor) -> Tensor:
    """Return the distribution of free logits [..., L] by a softmax, that of one logit with 0 for the first label."""
    if logit.shape[-1] == 1:
        logit = torch.cat([torch.zeros_like(logit), logit], dim=-1)
    return logit.softmax(dim=-1) if logit.shape[-1] else torch.ones(*logit.shape[:-1], 1)


@pytest.mark.parametrize("labels", FREE)
def test_coarse_probability_is_the_softmax(labels: int) -> None:
    logit = 5 * torch.randn(7, 4, FREE[labels])
    expected = plain_probability(logit)
    assert expected.shape == (7, 4, labels)
    torch.testing.assert_close(coarse_probability(logit), expected)


@pytest.mark.parametrize("labels", FREE)
@pytest.mark.parametrize("expert", CAPACITIES)
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_the_mixture_routes_raw_images(expert: str, shape: tuple[int, ...], labels: int) -> None:
    output = mixture(expert, shape, labels=labels)(noise(5, shape))
    assert output.log_routing.shape == (5, 3)
    assert output.expert_logit.shape == (5, 3, FREE[labels])
    torch.testing.assert_close(output.log_routing.exp().sum(dim=1), torch.ones(5))


@pytest.mark.parametrize("labels", FREE)
@pytest.mark.parametrize("expert", CAPACITIES)
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_gate_and_experts_alone_agree_with_the_whole(expert: str, shape: tuple[int, ...], labels: int) -> None:
    model, images = mixture(expert, shape, labels=labels), noise(5, shape)
    output = model(images)
    torch.testing.assert_close(model.gate(images), output.log_routing.exp())
    for index in range(3):
        found = model.expert(index, images)
        torch.testing.assert_close(found, plain_probability(output.expert_logit[:, index]))
        torch.testing.assert_close(found.sum(dim=1), torch.ones(5))


@pytest.mark.parametrize("expert", CAPACITIES)
def test_every_parameter_belongs_to_gate_or_experts(expert: str) -> None:
    model = mixture(expert)
    gate, experts = ({id(p) for p in part} for part in (model.gate_parameters(), model.experts.parameters()))
    assert not gate & experts
    assert gate | experts == {id(parameter) for parameter in model.parameters()}


def test_one_expert_gets_every_image() -> None:
    assert (mixture(experts=1).gate(noise(4)) == 1).all()


def test_straight_through_is_one_hot_in_value() -> None:
    weights = straight_through(torch.randn(200, 5).log_softmax(dim=1))
    torch.testing.assert_close(weights.max(dim=1).values, torch.ones(200))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(200))


def test_the_gradient_of_straight_through_is_the_softmaxs() -> None:
    logits, direction = torch.randn(2, 50, 5)
    gradients = []
    for weights in (lambda gate: straight_through(gate.log_softmax(dim=1)), lambda gate: gate.softmax(dim=1)):
        gate = logits.clone().requires_grad_()
        (weights(gate) * direction).sum().backward()
        gradients.append(gate.grad)
    torch.testing.assert_close(*gradients)


def test_straight_through_samples_by_the_distribution() -> None:
    torch.manual_seed(0)
    routing = torch.tensor([0.6, 0.3, 0.1, 0.0])
    drawn = straight_through(routing.log().clamp_min(-1e9).expand(20_000, 4)).mean(dim=0)
    torch.testing.assert_close(drawn, routing, atol=0.015, rtol=0)  # over 4 standard errors
    assert drawn[3] == 0
