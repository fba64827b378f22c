import random

import numpy as np
import torch

from training.engine.seeding import epoch_generator, seed_everything


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
