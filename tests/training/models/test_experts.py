import pytest
import torch
from torch import nn

from training.models.experts import make_expert
from training.recipe.recipe import Model


def expert(capacity: str, shape: tuple[int, int, int] = (1, 28, 28), **keys: object) -> nn.Module:
    return make_expert(Model.model_validate({"expert": capacity, **keys}), shape)


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 30, 27)])
@pytest.mark.parametrize("capacity", ["linear", "small_cnn", "large_cnn"])
def test_an_expert_gives_one_logit_an_image(capacity: str, shape: tuple[int, int, int]) -> None:
    assert expert(capacity, shape)(torch.randn(5, *shape)).shape == (5, 1)


def test_a_shared_expert_is_a_linear_head_on_the_embedding() -> None:
    assert expert("shared", embedding=7)(torch.randn(5, 7)).shape == (5, 1)


def test_capacities_grow_by_their_names() -> None:
    sizes = [size(expert(name)) for name in ("linear", "small_cnn", "large_cnn")]
    assert sizes == sorted(set(sizes))


def test_the_recipe_decides_the_channels_of_a_small_expert() -> None:
    convolutions = [m for m in expert("small_cnn", expert_channels=[5, 7]).modules() if isinstance(m, nn.Conv2d)]
    assert [convolution.out_channels for convolution in convolutions] == [5, 7]


def test_a_linear_expert_is_linear_in_the_pixels() -> None:
    weak = expert("linear").double()
    one, other = torch.randn(2, 4, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(weak((one + other) / 2), (weak(one) + weak(other)) / 2)
