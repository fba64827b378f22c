"""Random numbers that a seed decides wholly."""

import numpy as np
import torch
from accelerate.utils import set_seed


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    set_seed(seed)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Reseed everything for one epoch and return a generator for its order of images.

    The numbers depend on seed and epoch alone, so that a resumed run draws what an uninterrupted one
    would have drawn, without a generator's state in the checkpoint.
    """
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    seed_everything(mixed)
    return torch.Generator().manual_seed(mixed)
