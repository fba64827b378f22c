"""Random numbers that depend on a seed alone."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

# Functions that draw random numbers even if they are called without the keyword ``generator``.
DRAWING = frozenset(
    {torch.rand, torch.randn, torch.randint, torch.randperm, torch.Tensor.uniform_, torch.Tensor.normal_}
)


def epoch_generators(seed: int, epoch: int) -> tuple[torch.Generator, torch.Generator]:
    """Return one epoch's generators, for its order of images and for its random views.

    The numbers depend on seed and epoch alone, so that a resumed run draws what an uninterrupted one
    would have drawn, without a generator's state in the checkpoint.
    """
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    return generator_of(mixed), generator_of(mixed)


def generator_of(seed: int) -> torch.Generator:
    """Return a generator that starts from a seed."""
    return torch.Generator().manual_seed(seed)


class DrawingFrom(TorchFunctionMode):
    """Within the block, draw from this generator what the thread would draw from torch's own.

    Layers initialise their weights from torch's own generator, which all threads share.

    Args:
        generator: the generator to draw from.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a torch function, with the generator if it takes one."""
        given = dict(kwargs or {})
        if (func in DRAWING or "generator" in given) and given.get("generator") is None:
            given["generator"] = self._generator
        return func(*args, **given)
