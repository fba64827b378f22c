import pytest
import torch
from torch import nn

from training.models.config import MixtureModel
from training.models.experts import free_logits, make_expert


def expert(capacity: str, shape: tuple[int, int, int] = (1, 28, 28), outputs: int = 1, **keys: object) -> nn.Module:
    return make_expert(MixtureModel.model_validate({"expert": capacity, **keys}), shape, outputs)


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("labels", "outputs"), [(1, 0), (2, 1), (3, 3), (7, 7)])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 30, 27), (3, 3, 5)])
@pytest.mark.parametrize("capacity", ["linear", "small_cnn", "large_cnn"])
def test_an_expert_returns_its_free_logits(
    capacity: str, shape: tuple[int, int, int], labels: int, outputs: int
) -> None:
    assert free_logits(labels) == outputs
    assert expert(capacity, shape, outputs)(torch.randn(5, *shape)).shape == (5, outputs)


@pytest.mark.parametrize("outputs", [0, 1, 3])
def test_a_shared_expert_reads_the_embedding(outputs: int) -> None:
    assert expert("shared", outputs=outputs, embedding=7)(torch.randn(5, 7)).shape == (5, outputs)


@pytest.mark.parametrize("capacity", ["linear", "small_cnn", "large_cnn", "shared"])
def test_one_coarse_label_needs_no_parameters(capacity: str) -> None:
    assert size(expert(capacity, outputs=0)) == 0


def test_capacities_grow_by_their_names() -> None:
    sizes = [size(expert(name)) for name in ("linear", "small_cnn", "large_cnn")]
    assert sizes == sorted(set(sizes))


def test_the_recipe_decides_a_small_experts_channels() -> None:
    convolutions = [m for m in expert("small_cnn", expert_channels=[5, 7]).modules() if isinstance(m, nn.Conv2d)]
    assert [convolution.out_channels for convolution in convolutions] == [5, 7]


def test_a_linear_expert_is_linear_in_the_pixels() -> None:
    weak = expert("linear").double()
    one, other = torch.randn(2, 4, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(weak((one + other) / 2), (weak(one) + weak(other)) / 2)
