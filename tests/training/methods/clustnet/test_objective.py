import pytest
import torch
from torch.nn.functional import nll_loss

from training.losses.mixture_likelihood import soft_mixture_nll
from training.losses.routing_terms import routing_diversity, routing_entropy
from training.methods.clustnet.config import LossWeights
from training.methods.clustnet.objective import check_finite, coarse_loss
from training.methods.method import DivergedError
from training.models.mixture import MixtureOutput


def made_up(labels: int) -> tuple[MixtureOutput, torch.Tensor]:
    """Return outputs of 6 images by 4 experts, and coarse labels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, 1 if labels == 2 else labels, generator=generator)
    routing = torch.randn(6, 4, generator=generator).log_softmax(dim=1).requires_grad_()
    return MixtureOutput(routing, logits), torch.arange(6) % labels


@pytest.mark.parametrize("labels", [2, 3])
def test_terms_are_added_with_their_weights(labels: int) -> None:
    output, coarse = made_up(labels)
    found = coarse_loss(output, coarse, LossWeights(routing_entropy=0.3, routing_diversity=0.7), hard=False)
    wanted = soft_mixture_nll(*output, coarse) + 0.3 * routing_entropy(output.log_routing)
    torch.testing.assert_close(found, wanted - 0.7 * routing_diversity(output.log_routing))


def test_one_hard_expert_has_its_own_likelihood() -> None:
    output, coarse = made_up(3)
    certain = torch.full((6, 4), -1e9)
    certain[:, 2] = 0.0
    found = coarse_loss(MixtureOutput(certain, output.expert_logit), coarse, LossWeights(), hard=True)
    assert found == pytest.approx(nll_loss(output.expert_logit[:, 2].log_softmax(dim=1), coarse).item())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_overflow_are_refused(value: float) -> None:
    output, _ = made_up(2)
    assert check_finite(output) is output
    with pytest.raises(DivergedError, match=r"the model's outputs overflow; lower optimisation\.learning_rate"):
        check_finite(output._replace(expert_logit=torch.full_like(output.expert_logit, value)))
