import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.engine.seeding import DrawingFrom, epoch_generators, generator_of


def drawn(seed: int, epoch: int) -> list[torch.Tensor]:
    return [torch.rand(3, generator=generator) for generator in epoch_generators(seed, epoch)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 1000))
def test_seed_and_epoch_decide_the_numbers(seed: int, epoch: int) -> None:
    assert all(map(torch.equal, drawn(seed, epoch), drawn(seed, epoch)))
    for other in (drawn(seed, epoch + 1), drawn(seed + 1, epoch)):
        assert not any(map(torch.equal, drawn(seed, epoch), other))


def test_nothing_else_is_reseeded() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()  # type: ignore[index, union-attr]
    drawn(7, 1)
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist())  # type: ignore[index, union-attr]


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
