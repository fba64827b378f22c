import numpy as np
import pytest
import torch

from training.losses.reconstruction import reconstruction_error


def test_it_is_the_squared_error_over_the_variance() -> None:
    generator = np.random.default_rng(0)
    rebuilt, pixels = generator.random((2, 3, 1, 4, 5))
    found = reconstruction_error(torch.from_numpy(rebuilt), torch.from_numpy(pixels), 0.25)
    assert float(found) == pytest.approx(np.mean((rebuilt - pixels) ** 2) / 0.25)
