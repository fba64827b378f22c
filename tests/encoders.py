"""Tiny encoders, and folders of photographs that they tell apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from clustnet.files import sha256_of

SIDE = 16
FEATURES = 12
COLOURS = {"cold": ((40, 60, 220), (60, 220, 120)), "warm": ((220, 60, 40), (240, 200, 40))}


def write_encoder(folder: Path, floats: bool = False, **changes: Any) -> Path:
    """Write a graph that embeds the mean colour, of images uint8 or of normalised floats, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = TensorProto.FLOAT if floats else TensorProto.UINT8
    shape = ["N", 3, SIDE, SIDE] if floats else ["N", SIDE, SIDE, 3]
    weights = np.random.default_rng(0).normal(size=(3, 300)).astype(np.float32)
    fold = np.random.default_rng(1).normal(size=(300, FEATURES)).astype(np.float32)
    nodes = [
        *([] if floats else [helper.make_node("Cast", ["pixels"], ["cast"], to=TensorProto.FLOAT)]),
        helper.make_node("ReduceMean", ["pixels" if floats else "cast", "axes"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["wide"]),
        helper.make_node("MatMul", ["wide", "fold"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", FEATURES])],
        [
            numpy_helper.from_array(np.array([2, 3] if floats else [1, 2]), "axes"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(fold, "fold"),
        ],
    )
    path = folder / "encoder.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    spec = {"name": folder.name, "sha256": sha256_of(path), "size": [SIDE, SIDE], "features": FEATURES}
    spec |= {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    (folder / "encoder.json").write_text(json.dumps(spec | changes))
    return path


def write_photographs(folder: Path, train: int = 24, test: int = 6) -> Path:
    """Write photographs of two coarse labels, each with two colours that take turns, and return their folder."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for label, colours in COLOURS.items():
            (folder / split / label).mkdir(parents=True)
            for index in range(count):
                noise = generator.normal(0, 20, (20, 24, 3))
                pixels = np.clip(np.array(colours[index % 2]) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{index:03d}.png")
    return folder


def write_partition(path: Path, folder: Path) -> Path:
    """Write the partition by colour of what ``write_photographs`` wrote, and return its file."""
    files = sorted((folder / "train").rglob("*.png"))
    lines = [f"{file.relative_to(folder).as_posix()},{int(file.stem) % 2}" for file in files]
    path.write_text("\n".join(["file,cluster", *lines]) + "\n")
    return path
