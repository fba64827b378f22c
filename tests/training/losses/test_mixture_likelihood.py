import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from training.losses.mixture_likelihood import hard_mixture_nll, soft_mixture_nll
from training.models.experts import free_logits

Batch = tuple[Tensor, Tensor, Tensor]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Draw log-routing [N, E], the free logits of experts [N, E, L] and coarse labels [N] of one to five labels."""
    images, experts, labels = draw(st.integers(1, 20)), draw(st.integers(1, 9)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 1.0, 5.0]))
    gate = scale * torch.randn(images, experts, generator=generator)
    logit = scale * torch.randn(images, experts, free_logits(labels), generator=generator)
    return gate.log_softmax(dim=1), logit, torch.randint(0, labels, (images,), generator=generator)


def cost(logit: Tensor, coarse: Tensor) -> Tensor:
    """Return the cross-entropy of one expert's free logits [N, L] by torch's own losses, float64 [N]."""
    if logit.shape[1] == 0:
        return torch.zeros(len(coarse), dtype=torch.float64)
    if logit.shape[1] == 1:
        return binary_cross_entropy_with_logits(logit.squeeze(1).double(), coarse.double(), reduction="none")
    return cross_entropy(logit.double(), coarse, reduction="none")


@given(batches())
def test_soft_is_minus_log_of_the_mixed_probability(batch: Batch) -> None:
    log_routing, logit, coarse = batch
    probability = torch.stack([(-cost(expert, coarse)).exp() for expert in logit.unbind(1)], dim=1)
    plain = -(log_routing.double().exp() * probability).sum(dim=1).log().mean()
    torch.testing.assert_close(soft_mixture_nll(*batch).double(), plain, rtol=1e-4, atol=1e-6)


@given(batches(), st.integers(0, 2**31))
def test_hard_is_the_chosen_experts_cross_entropy(batch: Batch, seed: int) -> None:
    _, logit, coarse = batch
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, logit.shape[1], (len(logit),), generator=generator)
    plain = cost(logit[torch.arange(len(logit)), chosen], coarse).mean()
    weights = one_hot(chosen, logit.shape[1]).float()
    torch.testing.assert_close(hard_mixture_nll(weights, logit, coarse).double(), plain, rtol=1e-4, atol=1e-6)


@given(batches())
def test_soft_and_hard_agree_for_a_certain_gate(batch: Batch) -> None:
    log_routing, logit, coarse = batch
    weights = one_hot(log_routing.argmax(dim=1), logit.shape[1]).float()
    soft = soft_mixture_nll(weights.log().clamp_min(-1e4), logit, coarse)
    torch.testing.assert_close(soft, hard_mixture_nll(weights, logit, coarse), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("free", [0, 1, 3])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
@pytest.mark.parametrize("loss", [soft_mixture_nll, lambda g, *rest: hard_mixture_nll(g.exp(), *rest)])
def test_extreme_logits_leave_everything_finite(loss: object, size: float, free: int) -> None:
    gate = torch.tensor([[size, -size], [-size, size], [size, -size]], requires_grad=True)
    signs = torch.tensor([[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]).unsqueeze(2) * torch.tensor([1.0, -1.0, 1.0])[:free]
    logit = (size * signs).requires_grad_()
    value = loss(gate.log_softmax(dim=1), logit, torch.full((3,), min(free, 1)))  # type: ignore[operator]
    value.backward()
    assert all(tensor.isfinite().all() for tensor in (value, gate.grad) if tensor is not None)
    assert free == 0 or logit.grad.isfinite().all()


def test_experts_without_logits_cost_nothing() -> None:
    gate = torch.randn(4, 3).log_softmax(dim=1)
    loss = soft_mixture_nll(gate, torch.empty(4, 3, 0), torch.zeros(4, dtype=torch.int64))
    assert loss.item() == pytest.approx(0, abs=1e-6)
