"""What several processes compute together: the whole batch's loss, and its gradient.

Each process runs its share of a batch through the networks and gathers the outputs of all processes, with their
gradients. Each can therefore compute the loss of the whole batch, including any statistics of the batch. These losses
are equal, and each sends its gradient to every process, so the gradient of the weights is the mean over the processes.
Weights and scores are then those of one process, up to rounding.

With one process, nothing is exchanged.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import pad

from training.engine.processes import processes, rank

T = TypeVar("T")
Rows = TypeVar("Rows", Tensor, range, list[Any])


def share(rows: Rows) -> Rows:
    """Return this process's share of rows: consecutive ones, in the order of processes; sizes differ by at most 1."""
    start, stop = (len(rows) * number // processes() for number in (rank(), rank() + 1))
    return rows[start:stop]


def total(values: Tensor) -> Tensor:
    """Return the sum over the processes of tensors of one shape, with its gradient."""
    if processes() == 1:
        return values
    whole: Tensor = _Total.apply(values)
    return whole


def gathered(rows: Tensor, batch: int, views: int = 1) -> Tensor:
    """Return the rows of a whole batch from the processes' shares, with its gradient.

    Args:
        rows: float32 [views * S, ...], this process's share of S images, one view after the other.
        batch: N, the number of images in the whole batch.
        views: number of views of each image.

    Returns:
        float32 [views * N, ...], the images of each view in the batch's order.
    """
    if processes() == 1:
        return rows
    places = share(range(batch))
    apart = rows.reshape(views, len(places), *rows.shape[1:])
    around = (0, 0) * (rows.dim() - 1) + (places.start, batch - places.stop)
    return total(pad(apart, around)).flatten(0, 1)


def in_shares(work: Callable[[T], Tensor], parts: Sequence[T]) -> Tensor:
    """Return the rows that ``work`` returns for each part, one after the other; each part is done by one process.

    Args:
        work: returns [rows, ...] on the model's device, without gradient.
        parts: the parts, one or more.
    """
    if processes() == 1:
        return torch.cat([work(part) for part in parts])
    mine = [work(parts[number]) for number in share(range(len(parts)))]
    # A process without a part has no rows, but needs their shape.
    rows = torch.cat(mine or [work(parts[0])[:0]])
    counts = torch.zeros(processes(), dtype=torch.int64, device=rows.device)
    counts[rank()] = len(rows)
    dist.all_reduce(counts)
    whole = rows.new_zeros(int(counts.sum()), *rows.shape[1:])
    start = int(counts[: rank()].sum())
    whole[start : start + len(rows)] = rows
    dist.all_reduce(whole)
    return whole


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients of parameters, the same ones in each process, by their mean over the processes."""
    if processes() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    means = torch.split(flat / processes(), [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


class _Total(Function):
    """A sum over processes; as the results of all depend on each process's values, the gradient is a sum as well.

    ``torch.distributed.nn.functional.all_reduce``, which does the same, is deprecated.
    """

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(values: Tensor) -> Tensor:
    whole = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(whole)
    return whole
