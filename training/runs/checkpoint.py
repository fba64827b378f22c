"""Checkpoints as files: tensors and plain values, whole or not at all, and checked when they are read."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clustnet.errors import UserError
from clustnet.files import replacing, shown

# What an optimizer of torch dumps.
OPTIMIZER = {"state", "param_groups"}


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint."""
    content = _packed(state)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def packed_size(state: Mapping[str, Any]) -> int:
    """Return how many bytes a checkpoint has as a file."""
    return len(_packed(state))


def without_optimizers(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint without the states of its optimizers, which only the training itself reads."""
    return {name: part for name, part in state.items() if not _is_optimizer(part)}


def has_optimizers(state: Mapping[str, Any]) -> bool:
    """Return whether training can go on from a checkpoint as if it had not stopped."""
    return any(map(_is_optimizer, state.values()))


def _is_optimizer(part: Any) -> bool:
    return isinstance(part, Mapping) and part.keys() == OPTIMIZER


def _packed(state: Mapping[str, Any]) -> memoryview:
    """Return a checkpoint as bytes, as torch's own writer says of a full disk that a position is wrong."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    return content.getbuffer()


def load_state(path: Path) -> dict[str, Any]:
    """Return a checkpoint that is there, tensors and plain values only, on the CPU.

    Raises:
        UserError: it is damaged.
    """
    try:
        _check_crc(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - on damaged files zipfile and torch raise a dozen types
        raise UserError(f"The checkpoint {shown(path)} is damaged; remove it to use the one before.") from None
    return state


def _check_crc(path: Path) -> None:
    """Raise where an entry does not have its CRC-32, which ``torch.load`` does not look at."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(damaged)
