"""Random numbers of a run: each use has its own stream, so neither order nor resuming changes them."""

import zlib

import numpy as np
import torch

from training.engine.seeding import generator_of
from training.grow.hierarchy import Labels, name_of


def stream(seed: int, node: Labels, use: str, number: int = 0) -> torch.Generator:
    """Return the generator of one use.

    Args:
        seed: seed of the run.
        node: the node that is learnt.
        use: what the numbers are for, such as ``weights``.
        number: number of the epoch.
    """
    words = [zlib.crc32(text.encode("utf-8", "surrogatepass")) for text in (name_of(node), use)]
    return generator_of(int(np.random.SeedSequence([seed, *words, number]).generate_state(1)[0]))
