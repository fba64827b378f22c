import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical

from training.losses.routing_terms import routing_diversity, routing_entropy


@st.composite
def log_routings(draw: st.DrawFn) -> Tensor:
    images, experts = draw(st.integers(1, 20)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = draw(st.sampled_from([0.1, 1.0, 10.0])) * torch.randn(images, experts, generator=generator)
    return logits.log_softmax(dim=1)


@given(log_routings())
def test_entropy_is_that_of_each_images_distribution(log_routing: Tensor) -> None:
    plain = Categorical(logits=log_routing.double()).entropy().mean()
    torch.testing.assert_close(routing_entropy(log_routing).double(), plain, rtol=1e-4, atol=1e-6)


@given(log_routings())
def test_diversity_is_the_entropy_of_the_mean_distribution(log_routing: Tensor) -> None:
    plain = Categorical(probs=log_routing.double().exp().mean(dim=0)).entropy()
    torch.testing.assert_close(routing_diversity(log_routing).double(), plain, rtol=1e-4, atol=1e-6)


@given(log_routings())
def test_entropy_is_at_most_diversity(log_routing: Tensor) -> None:
    entropy, diversity = routing_entropy(log_routing), routing_diversity(log_routing)
    slack = 1e-5
    assert -slack <= entropy <= diversity + slack  # Jensen: their difference is a mutual information
    assert diversity <= math.log(log_routing.shape[1]) + slack


def test_diversity_is_greatest_for_even_use() -> None:
    collapsed = (50 * torch.eye(4)[[2, 2, 2, 2]]).log_softmax(dim=1)
    even = (50 * torch.eye(4)).log_softmax(dim=1)
    assert routing_diversity(collapsed).item() == pytest.approx(0, abs=1e-6)
    assert routing_diversity(even).item() == pytest.approx(math.log(4), abs=1e-6)
    assert routing_entropy(even).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("term", [routing_entropy, routing_diversity])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_extreme_logits_leave_everything_finite(term: object, size: float) -> None:
    gate = torch.tensor([[size, -size, 0.0], [size, 0.0, -size]], requires_grad=True)
    value = term(gate.log_softmax(dim=1))  # type: ignore[operator]
    value.backward()
    assert value.isfinite()
    assert gate.grad is not None
    assert gate.grad.isfinite().all()
