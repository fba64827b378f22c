import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.engine.seeding import DrawingFrom, epoch_generator, epoch_generators, generator_of, seed_everything


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: S311


def test_seed_decides_python_numpy_and_torch() -> None:
    drawn = []
    for seed in (3, 3, 4):
        seed_everything(seed)
        drawn.append(draws())
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


def test_epoch_draws_same_whatever_came_before() -> None:
    drawn = []
    for epoch, used in ((2, 0), (2, 5), (3, 0)):
        torch.rand(used)
        generator = epoch_generator(7, epoch)
        drawn.append([*draws(), float(torch.rand((), generator=generator))])
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


@given(st.integers(0, 2**32 - 1), st.integers(1, 1000))
def test_own_generators_draw_what_reseeding_draws(seed: int, epoch: int) -> None:
    order = epoch_generator(seed, epoch)
    expected = torch.rand(3, generator=order), torch.rand(3)
    found = [torch.rand(3, generator=generator) for generator in epoch_generators(seed, epoch)]
    assert all(map(torch.equal, found, expected))


def weights() -> torch.Tensor:
    layers = [torch.nn.Linear(3, 4), torch.nn.Conv2d(2, 3, 3), torch.nn.ConvTranspose2d(3, 2, 3)]
    parts = [part.detach().flatten() for layer in layers for part in layer.parameters()]
    return torch.cat([*parts, torch.randn(2), torch.rand(2), torch.randperm(3), torch.randint(9, (2,))])


def test_layers_draw_from_the_given_generator() -> None:
    torch.manual_seed(5)
    expected = weights()
    torch.manual_seed(6)
    before = torch.random.get_rng_state()
    with DrawingFrom(generator_of(5)):
        found = weights()
    assert torch.equal(found, expected)
    assert torch.equal(torch.random.get_rng_state(), before)
