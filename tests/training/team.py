"""Several processes on this machine that train together, as torchrun would start them, but in a moment."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import start_processes

from training.engine.processes import joined, rank

Work = Callable[..., Any]


def together(folder: Path, count: int, work: Work, *arguments: Any) -> list[Any]:
    """Return what ``work(*arguments)``, a module's function, returns in each of ``count`` processes that are joined."""
    # Imported once, not in each process.
    multiprocessing.set_forkserver_preload(["tests.training.engine.test_processes"])
    start_processes(_member, (folder, count, free_port(), work, arguments), nprocs=count, start_method="forkserver")
    return [torch.load(_answer(folder, number)) for number in range(count)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _member(number: int, folder: Path, count: int, port: int, work: Work, arguments: tuple[Any, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "OMP_NUM_THREADS": "1"}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    torch.set_num_threads(1)
    with joined():
        assert rank() == number
        torch.save(work(*arguments), _answer(folder, number))


def _answer(folder: Path, number: int) -> Path:
    return folder / f"answer_{number}.pt"
