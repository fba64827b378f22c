import random
from collections.abc import Callable

import numpy as np
import torch


def check_callers_numbers(work: Callable[[], object]) -> None:
    """Check that some work leaves the random numbers of its caller as they are."""
    drawn = []
    for works in (False, True):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        if works:
            work()
        drawn.append((random.random(), np.random.random(), torch.rand(1).item()))  # noqa: S311 - no secret
    assert drawn[0] == drawn[1]
