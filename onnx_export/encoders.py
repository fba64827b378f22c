"""Encoders as files: torch modules that turn images into embeddings."""

from pathlib import Path

import torch
from torch import nn

from onnx_export.graph_files import BATCH, save_graph


def write_encoder(path: Path, module: nn.Module, size: tuple[int, int], multiple: int | None = None) -> None:
    """Write a module that embeds images as ``encoder.onnx`` with a free number of images.

    Args:
        path: the file.
        module: uint8 [N, H, W, 3] -> float32 [N, D], on the CPU.
        size: height and width of the images.
        multiple: sides may be other multiples of this, too; the module's padding must then not depend on them.
    """
    image = torch.zeros((2, *size, 3), dtype=torch.uint8)
    free = {0: BATCH}
    if multiple:
        # One name for both would make all images squares.
        free |= {axis: multiple * torch.export.Dim(name) for axis, name in ((1, "rows"), (2, "columns"))}
    save_graph(path, module, {"image": image}, ["embedding"], free)
