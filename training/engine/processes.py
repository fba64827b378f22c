"""Training in several processes, as ``torchrun`` and ``accelerate launch`` start them; with one this does nothing.

Each runs its share of every batch through the networks, and ``training.engine.collectives`` joins what they compute.
All of them make the same decisions; only the first reads and writes the run's folder and prints.
"""

import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

from clustnet.errors import UserError

# How long the other processes wait for the first, which makes the initial partition alone.
TIMEOUT = timedelta(hours=6)
T = TypeVar("T")


class _CtrlC:
    """Ctrl-C with several processes: whichever notices it, all stop at the same place, and none is left waiting."""

    noted = False
    # Whether to stop at once, because the other processes only wait.
    at_once = False

    @classmethod
    def notice(cls, *_: object) -> None:
        """Handle the signal."""
        cls.noted = True
        if cls.at_once:
            # Only once, as torchrun passes on a signal that the terminal has already sent.
            cls.at_once = False
            raise KeyboardInterrupt


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that were started together, for the length of the block."""
    # Set by torchrun and accelerate in each process that they start.
    if "LOCAL_RANK" in os.environ:
        PartialState(cpu=not torch.cuda.is_available(), timeout=TIMEOUT)
    if processes() == 1:
        yield
        return
    _CtrlC.noted = False
    before = signal.signal(signal.SIGINT, _CtrlC.notice)
    try:
        yield
    except (UserError, KeyboardInterrupt):
        # These are raised in all processes; after any other failure there may be no other process left.
        PartialState().destroy_process_group()
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    PartialState().destroy_process_group()


def processes() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def is_first() -> bool:
    """Return whether this is the process that reads and writes the run's folder and prints."""
    return rank() == 0


def print_once(text: str) -> None:
    """Print a text in the first process only."""
    if is_first():
        print(text, flush=True)


def check_batch_size(size: int) -> None:
    """Refuse batches that the processes cannot share evenly.

    Raises:
        UserError: the number of processes does not divide ``size``.
    """
    count = processes()
    if size % count:
        raise UserError(
            f"optimisation.batch_size is {size}, which counts the images of all {count} processes and must be a "
            f"multiple of {count}; set it to {-(-size // count) * count}."
        )


def on_first(work: Callable[[], T]) -> T:
    """Let the first process do some work, and return its result in all processes.

    Args:
        work: returns tensors and plain values. It may be stopped at once, as the other processes only wait.

    Raises:
        UserError: the work was refused; raised in all processes.
        KeyboardInterrupt: the work was stopped; raised in all processes.
    """
    if processes() == 1:
        return work()
    _CtrlC.at_once = is_first()
    outcome = _outcome(work) if is_first() else {}
    _CtrlC.at_once = False
    result: T = _settled(_broadcast(outcome, 0))
    return result


def agreed(work: Callable[[], T]) -> T:
    """Let each process do some work, and return its own result; what is refused in one is refused in all.

    Raises:
        UserError: the work was refused; all processes raise the message of the first that refused it.
        KeyboardInterrupt: the work was stopped; raised in all processes.
    """
    if processes() == 1:
        return work()
    outcome = _outcome(work)
    failed = torch.tensor([processes() if "result" in outcome else rank()], device=PartialState().device)
    dist.all_reduce(failed, dist.ReduceOp.MIN)
    if failed < processes():
        _settled(_broadcast(outcome, int(failed)))
    result: T = _settled(outcome)
    return result


def stop_if_requested() -> None:
    """Stop here if any of the processes has noticed Ctrl-C since they joined; all must call this at the same place.

    Raises:
        KeyboardInterrupt: one has noticed it; raised in all processes.
    """
    if processes() == 1:
        return
    noted = torch.tensor([int(_CtrlC.noted)], device=PartialState().device)
    dist.all_reduce(noted, dist.ReduceOp.MAX)
    if noted:
        raise KeyboardInterrupt


def _outcome(work: Callable[[], T]) -> dict[str, Any]:
    """Return the result of some work, or why there is none."""
    try:
        return {"stopped": True} if _CtrlC.noted else {"result": work()}
    except UserError as error:
        return {"refused": str(error)}
    except KeyboardInterrupt:
        return {"stopped": True}


def _settled(outcome: dict[str, Any]) -> Any:
    """Return the result of work, or raise why there is none."""
    if "refused" in outcome:
        raise UserError(outcome["refused"])
    if "stopped" in outcome:
        raise KeyboardInterrupt
    return outcome["result"]


def _broadcast(outcome: dict[str, Any], source: int) -> dict[str, Any]:
    """Return the outcome of one process in all, sent as a checkpoint is written: only tensors and plain values pass."""
    packed, device = io.BytesIO(), PartialState().device
    if rank() == source:
        torch.save(outcome, packed)
    size = torch.tensor([packed.getbuffer().nbytes], device=device)
    dist.broadcast(size, source)
    content = torch.zeros(int(size), dtype=torch.uint8, device=device)
    if rank() == source:
        content.copy_(torch.frombuffer(packed.getbuffer(), dtype=torch.uint8))
    dist.broadcast(content, source)
    if rank() == source:
        return outcome
    received: dict[str, Any] = torch.load(
        io.BytesIO(content.cpu().numpy().tobytes()), map_location="cpu", weights_only=True
    )
    return received
