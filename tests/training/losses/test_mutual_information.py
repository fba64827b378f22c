import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score
from torch import Tensor

from training.losses.mutual_information import group_mutual_information, mutual_information


@st.composite
def routings(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draw the routing distributions of two views, [N, E] each."""
    images, experts = draw(st.integers(1, 30)), draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    first, second = torch.randn(2, images, experts, generator=generator, dtype=torch.float64)
    return (2 * first).softmax(dim=1), (2 * second).softmax(dim=1)


@given(routings())
def test_it_is_that_of_the_symmetrised_joint(views: tuple[Tensor, Tensor]) -> None:
    first, second = views
    plain, experts = 0.0, range(first.shape[1])
    joint = [
        [float(((first[:, a] * second[:, b] + first[:, b] * second[:, a]) / 2).mean()) for b in experts]
        for a in experts
    ]
    for a in experts:
        for b in experts:
            independent = sum(joint[a]) * sum(row[b] for row in joint)
            plain += joint[a][b] * math.log(joint[a][b] / independent)
    assert math.isclose(float(mutual_information(first, second)), plain, rel_tol=1e-4, abs_tol=1e-5)


@given(routings())
def test_it_lies_between_nothing_and_log_of_experts(views: tuple[Tensor, Tensor]) -> None:
    assert -1e-6 <= float(mutual_information(*views)) <= math.log(views[0].shape[1]) + 1e-6


def test_for_certain_routings_it_is_scikit_learns() -> None:
    experts = torch.tensor([0, 0, 1, 2, 2, 2, 1, 0])
    certain = torch.nn.functional.one_hot(experts).double()
    expected = mutual_info_score(experts.numpy(), experts.numpy())
    assert math.isclose(float(mutual_information(certain, certain)), expected, abs_tol=1e-5)


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_groups_are_measured_apart_and_added(labels: int) -> None:
    first, second = torch.rand(2, 20, 4).softmax(dim=2)
    coarse = torch.arange(20) % labels
    each = [mutual_information(first[coarse == label], second[coarse == label]) for label in range(labels)]
    torch.testing.assert_close(group_mutual_information(first, second, coarse), sum(each))


def test_a_missing_group_counts_nothing() -> None:
    first, second = torch.rand(2, 20, 4).softmax(dim=2)
    torch.testing.assert_close(
        group_mutual_information(first, second, torch.full((20,), 2)), mutual_information(first, second)
    )


@given(routings())
def test_even_shares_only_shift_it(views: tuple[Tensor, Tensor]) -> None:
    experts = views[0].shape[1]
    shifted = mutual_information(*views, torch.full((experts,), 1 / experts))
    assert math.isclose(float(shifted), float(mutual_information(*views)) - math.log(experts), abs_tol=1e-5)


def test_expected_shares_are_the_best_shares() -> None:
    expected = torch.tensor([0.7, 0.2, 0.1])
    found = []
    for counts in ([7, 2, 1], [4, 3, 3], [8, 1, 1]):
        certain = torch.eye(3).repeat_interleave(torch.tensor(counts), dim=0)
        found.append(float(mutual_information(certain, certain, expected)))
    assert math.isclose(found[0], 0, abs_tol=1e-5)
    assert max(found[1:]) < -0.01


def test_each_group_has_its_own_shares() -> None:
    first, second = torch.rand(2, 20, 4).softmax(dim=2)
    coarse, shares = torch.arange(20) % 2, torch.rand(2, 4).softmax(dim=1)
    each = [mutual_information(first[coarse == k], second[coarse == k], shares[k]) for k in range(2)]
    torch.testing.assert_close(group_mutual_information(first, second, coarse, shares), sum(each))
