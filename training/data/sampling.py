"""Balanced samples: each group is drawn equally often, whatever the number of its images."""

from collections.abc import Sequence

import torch
from torch import Tensor

Groups = Sequence["Tensor | Groups"]


def balanced(groups: Groups, images: int, generator: torch.Generator) -> Tensor:
    """Return indices of images in random order, int64 [images], equally many from each group.

    A group may consist of groups, which then share its images equally. An image is drawn again only when all images of
    its group have been drawn.

    Args:
        groups: indices of each group's images, int64 [M], or groups of groups.
        images: number of images to draw; a remainder goes to random groups.
        generator: draws the numbers.
    """
    shares = [images // len(groups)] * len(groups)
    for extra in torch.randperm(len(groups), generator=generator)[: images % len(groups)].tolist():
        shares[extra] += 1
    drawn = torch.cat([_of_group(group, share, generator) for group, share in zip(groups, shares, strict=True)])
    return drawn[torch.randperm(len(drawn), generator=generator)]


def _of_group(group: "Tensor | Groups", images: int, generator: torch.Generator) -> Tensor:
    if not isinstance(group, Tensor):
        return balanced(group, images, generator)
    rounds = -(-images // len(group))
    order = [torch.randperm(len(group), generator=generator) for _ in range(rounds)]
    return group[torch.cat(order)[:images]] if order else group[:0]
