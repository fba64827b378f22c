"""Encoders as files: torch modules that turn images into embeddings."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from clustnet.encoders import Encoder
from onnx_export.graph_files import BATCH, save_graph
from onnx_export.parity import ParityError

# Relative to the largest number in an embedding.
TOLERANCE = 1e-4


def write_encoder(path: Path, module: nn.Module, size: tuple[int, int], multiple: int | None = None) -> None:
    """Write a module that embeds images as an ONNX graph with a free number of images.

    Args:
        path: the file.
        module: uint8 [N, H, W, 3] -> float32 [N, D], on the CPU.
        size: height and width of the images.
        multiple: if given, sides may be any multiples of this, but the module's padding must not depend on them.
    """
    image = torch.zeros((2, *size, 3), dtype=torch.uint8)
    free = {0: BATCH}
    if multiple:
        # One name for both would make all images squares.
        free |= {axis: multiple * torch.export.Dim(name) for axis, name in ((1, "rows"), (2, "columns"))}
    save_graph(path, module, {"image": image}, ["embedding"], free)


@torch.no_grad()
def check_encoder_parity(module: nn.Module, encoder: Encoder) -> None:
    """Raise unless a written graph computes what its module does.

    Args:
        module: uint8 [N, H, W, 3] -> float32 [N, D], on the CPU.
        encoder: the encoder that runs the graph.

    Raises:
        ParityError: the graph does not.
    """
    images = np.random.default_rng(0).integers(0, 256, (3, *encoder.input.shape), np.uint8)
    found = encoder.embed(images)
    height, width = encoder.size
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    cropped = torch.from_numpy(images[:, top : top + height, left : left + width].copy())
    wanted = module(cropped).numpy()
    difference = float(np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max())))
    if not difference <= TOLERANCE:
        raise ParityError(f"The graph differs from the model by {difference:.2g}, more than {TOLERANCE:g}.")
