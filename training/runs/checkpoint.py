"""Checkpoints as files: tensors and plain values, whole or not at all, and checked when they are read."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clustnet.errors import UserError
from clustnet.files import replacing, shown

# The keys of a torch optimizer's state.
OPTIMIZER = {"state", "param_groups"}


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint."""
    content = _packed(state)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def packed_size(state: Mapping[str, Any]) -> int:
    """Return the size of a checkpoint as a file, in bytes."""
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
    """Return a checkpoint as bytes; on a full disk, torch's own writer would report a wrong position."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    return content.getbuffer()


def load_state(path: Path) -> dict[str, Any]:
    """Return a checkpoint that exists, tensors and plain values only, on the CPU.

    Raises:
        UserError: the checkpoint is damaged.
    """
    try:
        _check_crc(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - on damaged files zipfile and torch raise a dozen types
        raise UserError(f"The checkpoint {shown(path)} is damaged; remove it to use the one before.") from None
    return state


def _check_crc(path: Path) -> None:
    """Raise if the CRC-32 of an entry is wrong, which ``torch.load`` does not check."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(damaged)
