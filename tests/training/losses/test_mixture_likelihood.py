import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, one_hot

from training.losses.mixture_likelihood import hard_mixture_nll, soft_mixture_nll

Batch = tuple[Tensor, Tensor, Tensor]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Draw log-routing [N, E], expert logits [N, E] and targets [N]."""
    images, experts = draw(st.integers(1, 20)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 1.0, 5.0]))
    gate = scale * torch.randn(images, experts, generator=generator)
    logit = scale * torch.randn(images, experts, generator=generator)
    target = torch.randint(0, 2, (images,), generator=generator).float()
    return gate.log_softmax(dim=1), logit, target


@given(batches())
def test_soft_is_minus_log_of_the_mixed_probability(batch: Batch) -> None:
    log_routing, logit, target = batch
    routing, sign = log_routing.double().exp(), (2 * target - 1).double().unsqueeze(1)
    plain = -(routing * (sign * logit.double()).sigmoid()).sum(dim=1).log().mean()
    torch.testing.assert_close(soft_mixture_nll(*batch).double(), plain, rtol=1e-4, atol=1e-6)


@given(batches(), st.integers(0, 2**31))
def test_hard_is_the_cross_entropy_of_the_chosen_expert(batch: Batch, seed: int) -> None:
    _, logit, target = batch
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, logit.shape[1], (len(logit),), generator=generator)
    probability = logit.double().sigmoid().gather(1, chosen.unsqueeze(1)).squeeze(1)
    plain = binary_cross_entropy(probability, target.double())
    weights = one_hot(chosen, logit.shape[1]).float()
    torch.testing.assert_close(hard_mixture_nll(weights, logit, target).double(), plain, rtol=1e-4, atol=1e-6)


@given(batches())
def test_soft_and_hard_agree_where_the_gate_is_certain(batch: Batch) -> None:
    log_routing, logit, target = batch
    weights = one_hot(log_routing.argmax(dim=1), logit.shape[1]).float()
    soft = soft_mixture_nll(weights.log().clamp_min(-1e4), logit, target)
    torch.testing.assert_close(soft, hard_mixture_nll(weights, logit, target), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
@pytest.mark.parametrize("loss", [soft_mixture_nll, lambda g, *rest: hard_mixture_nll(g.exp(), *rest)])
def test_values_and_gradients_stay_finite_at_extreme_logits(loss: object, size: float) -> None:
    gate = torch.tensor([[size, -size], [-size, size], [size, -size]], requires_grad=True)
    logit = torch.tensor([[size, -size], [size, -size], [-size, size]], requires_grad=True)
    value = loss(gate.log_softmax(dim=1), logit, torch.tensor([1.0, 1.0, 1.0]))  # type: ignore[operator]
    value.backward()
    assert all(tensor.isfinite().all() for tensor in (value, gate.grad, logit.grad))
