"""Modules of torch as ONNX files."""

import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

OPSET = 18
# The free number of images or embeddings.
BATCH = torch.export.Dim("N")


def save_graph(
    path: Path, module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], free: dict[int, Any]
) -> None:
    """Write the graph of one module with a single input and check it with onnx's own checker.

    Args:
        path: the file.
        module: the module, on the CPU.
        inputs: an example of the input, by its name.
        outputs: the names of what it returns.
        free: the dimensions of the input that are free.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # torch's exporter warns about its own internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=outputs,
            # A tuple, because a module may call its argument what it likes.
            dynamic_shapes=(free,),
            verbose=False,
        )
    if program is None:
        raise RuntimeError(f"torch wrote no graph for {path.name}")
    onnx.save(without_traces(program.model_proto), path)
    onnx.checker.check_model(path, full_check=True)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph without the exporter's notes, which hold stack traces with the paths of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
