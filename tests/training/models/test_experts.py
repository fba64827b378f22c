import pytest
import torch

from training.models.experts import CAPACITIES


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 30, 27)])
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_an_expert_gives_one_logit_an_image(capacity: str, shape: tuple[int, int, int]) -> None:
    assert CAPACITIES[capacity](shape)(torch.randn(5, *shape)).shape == (5, 1)


def test_capacities_grow_by_their_names() -> None:
    sizes = [
        sum(parameter.numel() for parameter in CAPACITIES[name]((1, 28, 28)).parameters())
        for name in ("linear", "small_cnn", "large_cnn")
    ]
    assert sizes == sorted(set(sizes))


def test_a_linear_expert_is_linear_in_the_pixels() -> None:
    expert = CAPACITIES["linear"]((1, 28, 28)).double()
    one, other = torch.randn(2, 4, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(expert((one + other) / 2), (expert(one) + expert(other)) / 2)
