"""A small random bundle made with onnx alone, so that tests of the format need no training."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from clustnet.bundles.bundle import CONDITIONAL, GATE, MANIFEST, MIXTURE, example_file, expert_graph
from clustnet.bundles.calibration import MIN_PROBABILITY
from clustnet.bundles.class_map import identity_class_map
from clustnet.bundles.evaluation_file import EVALUATION
from clustnet.files import sha256_of

SIDE_PIXELS = 28
EXPERTS, CLASSES = 5, 10
# The digits of each coarse label, for one, two or three of them.
COARSE = {1: {"all": range(10)}, 2: {"0-4": range(5), "5-9": range(5, 10)}}
COARSE[3] = {"0-3": range(4), "4-6": range(4, 7), "7-9": range(7, 10)}
TEMPERATURE, THRESHOLD = 0.5, 0.5
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Kind:
    """What a bundle reads and distinguishes.

    Args:
        coarse: the number K of coarse labels, 1 to 3.
        colour: whether images have three channels.
        named: whether the subtypes are the ten digits, or cells numbered ``LABEL/1``, ``LABEL/2``, ...
        hard: whether one expert alone decides; then ``conditional.onnx`` answers as the mixture does.
    """

    coarse: int = 2
    colour: bool = False
    named: bool = True
    hard: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image."""
        return (SIDE_PIXELS, SIDE_PIXELS, 3) if self.colour else (SIDE_PIXELS, SIDE_PIXELS)

    @property
    def temperature(self) -> float:
        """The temperature, which is 1 with one coarse label."""
        return TEMPERATURE if self.coarse > 1 else 1.0

    def subtypes(self) -> list[dict[str, Any]]:
        """Return the manifest's subtypes: digits, or one for each cell."""
        found = []
        for label, digits in COARSE[self.coarse].items():
            names = map(str, digits) if self.named else (f"{label}/{number + 1}" for number in range(EXPERTS))
            found += [{"name": name, "coarse_label": label, "named": self.named} for name in names]
        return found

    def class_map(self, generator: np.random.Generator) -> Array:
        """Return a class map, [E, K, C]: random for digits, otherwise the identity over cells."""
        if not self.named:
            return identity_class_map(np.ones((EXPERTS, self.coarse), bool))[0]
        found = generator.dirichlet(np.ones(CLASSES), (EXPERTS, self.coarse))
        for coarse, digits in enumerate(COARSE[self.coarse].values()):
            found[:, coarse] *= np.isin(np.arange(CLASSES), digits)
        return found / found.sum(axis=2, keepdims=True)


def write_bundle(
    folder: Path,
    seed: int = 0,
    hard: bool = False,
    coarse: int = 2,
    colour: bool = False,
    named: bool = True,
    **changes: Any,
) -> Path:
    """Write a bundle of a random linear gate and experts; ``changes`` replace manifest entries.

    The other arguments are those of ``Kind``.
    """
    kind = Kind(coarse, colour, named, hard)
    generator = np.random.default_rng(seed)
    pixels = int(np.prod(kind.shape))
    gate = generator.normal(size=(pixels, EXPERTS)).astype(np.float32)
    experts = generator.normal(size=(pixels, EXPERTS, coarse - 1)).astype(np.float32)
    experts = np.concatenate([np.zeros_like(gate)[:, :, None], experts], axis=2)
    class_map = kind.class_map(generator)
    (folder / "experts").mkdir(parents=True)
    onnx.save(_gate(kind, gate), folder / GATE)
    for index in range(EXPERTS):
        onnx.save(_expert(kind, experts[:, index]), folder / expert_graph(index))
    mixture = _mixture(kind, gate, experts, class_map)
    onnx.save(mixture, folder / MIXTURE)
    if hard:
        onnx.save(_conditional(mixture), folder / CONDITIONAL)
    manifest = _manifest(folder, kind, class_map) | changes
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def made_up_evaluation() -> dict[str, Any]:
    """Return the content of an ``evaluation.json`` that fits the bundle."""
    points = [{"per_class": 1, "mean": 0.9, "least": 0.8, "greatest": 0.95}]
    points += [{"per_class": 10, "mean": 0.97, "least": 0.96, "greatest": 0.98}]
    confusion = 90 * np.eye(CLASSES, dtype=int) + 1
    experts = confusion[:EXPERTS].copy()
    # Every image goes to an expert, those of the later digits to the first one.
    experts[0] += confusion[EXPERTS:].sum(axis=0)
    return {
        "schema_version": 1,
        "data": "mnist:test",
        "images": int(confusion.sum()),
        "seed": 0,
        "confusion": confusion.tolist(),
        "experts": experts.tolist(),
        "budget": {"data": "mnist:train", "draws": 10, "points": points},
    }


def made_up_drift() -> dict[str, Any]:
    """Return a ``drift`` entry that fits the bundle's manifest."""
    return {
        "data": "mnist:train",
        "images": 100,
        "held_out": True,
        "expert_load": [20] * EXPERTS,
        "guess": [10] * CLASSES,
        "confidence": {"edges": [0.25, 0.5, 0.75], "counts": [25] * 4},
        "brightness": {"edges": [0.1], "counts": [50, 50]},
    }


def with_evaluation(folder: Path, **changes: Any) -> Path:
    """Add the evaluation to a bundle; ``changes`` replace its entries."""
    (folder / EVALUATION).write_text(json.dumps(made_up_evaluation() | changes))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][EVALUATION] = sha256_of(folder / EVALUATION)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def with_examples(folder: Path, *colours: str) -> Path:
    """Add two examples of each of the first subtypes to a bundle: one of its colour, and a black one."""
    files = {}
    for subtype, colour in enumerate(colours):
        for number, fill in enumerate((colour, "black")):
            name = example_file(subtype, number)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30), fill).save(folder / name, quality=95)
            files[name] = sha256_of(folder / name)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] |= files
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def _manifest(folder: Path, kind: Kind, class_map: Array) -> dict[str, Any]:
    graphs = [GATE, MIXTURE, *map(expert_graph, range(EXPERTS)), *([CONDITIONAL] if kind.hard else [])]
    references = [0, 1] if kind.named else []
    return {
        "schema_version": 3,
        "name": "synthetic",
        "version": "1",
        "method": "clustnet",
        "routing": "hard" if kind.hard else "soft",
        "created": "2026-01-01T00:00:00Z",
        "source_commit": None,
        "config_hash": "0" * 64,
        "opset": 18,
        "input": {
            "shape": kind.shape,
            "meaning": "RGB, 0 to 255" if kind.colour else "0 = paper, 255 = ink",
            "preparation": "fit" if kind.colour else "mnist",
        },
        "coarse_labels": list(COARSE[kind.coarse]),
        "experts": EXPERTS,
        "subtypes": kind.subtypes(),
        "class_map": {
            "values": class_map.tolist(),
            "kind": "references" if kind.named else "cells",
            "data": "mnist:train",
            "reference_images": len(references),
            "reference_indices": references,
        },
        "calibration": {
            "temperature": kind.temperature,
            "data": "mnist:train",
            "images": 100 if kind.coarse > 1 else 0,
        },
        "abstention": {"threshold": THRESHOLD, "share": 0.01, "data": "mnist:train", "images": 50},
        "scores": [],
        "files": {graph: sha256_of(folder / graph) for graph in graphs},
    }


def _model(
    kind: Kind, nodes: list[onnx.NodeProto], weights: dict[str, Any], outputs: dict[str, list[Any]]
) -> onnx.ModelProto:
    flat = [
        helper.make_node("Cast", ["image"], ["pixels"], to=FLOAT),
        helper.make_node("Flatten", ["pixels"], ["rows"]),
        helper.make_node("Div", ["rows", "scale"], ["flat"]),
    ]
    weights = {"scale": np.float32(2550), "first": np.array([1]), "second": np.array([2]), **weights}
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    floats = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()}
    graph = helper.make_graph(
        [*flat, *nodes],
        "synthetic",
        [helper.make_tensor_value_info("image", UINT8, ["N", *kind.shape])],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in floats.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _routing() -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", ["flat", "gate"], ["gate_logits"]),
        helper.make_node("Softmax", ["gate_logits"], ["routing"], axis=1),
    ]


def _gate(kind: Kind, gate: Array) -> onnx.ModelProto:
    return _model(kind, _routing(), {"gate": gate}, {"routing": ["N", EXPERTS]})


def _expert(kind: Kind, expert: Array) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["flat", "expert"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["coarse_probability"], axis=1),
    ]
    return _model(kind, nodes, {"expert": expert}, {"coarse_probability": ["N", kind.coarse]})


def _weights(hard: bool) -> list[onnx.NodeProto]:
    """Return the nodes of the experts' weights: the routing, or 1 for its maximum and 0 for the others."""
    if not hard:
        return [helper.make_node("Identity", ["routing"], ["weights"])]
    return [
        helper.make_node("ReduceMax", ["routing", "first"], ["largest"], keepdims=1),
        helper.make_node("Equal", ["routing", "largest"], ["is_largest"]),
        helper.make_node("Cast", ["is_largest"], ["weights"], to=FLOAT),
    ]


def _conditional(mixture: onnx.ModelProto) -> onnx.ModelProto:
    """Return the mixture without its output of the experts' probabilities; it still computes them all."""
    conditional = onnx.ModelProto()
    conditional.CopyFrom(mixture)
    (unused,) = (put for put in conditional.graph.output if put.name == "expert_probability")
    conditional.graph.output.remove(unused)
    return conditional


def _mixture(kind: Kind, gate: Array, experts: Array, class_map: Array) -> onnx.ModelProto:
    cells = EXPERTS * kind.coarse
    nodes = [
        *_routing(),
        *_weights(kind.hard),
        helper.make_node("MatMul", ["flat", "experts"], ["flat_logits"]),
        helper.make_node("Reshape", ["flat_logits", "cube"], ["expert_logits"]),
        helper.make_node("Softmax", ["expert_logits"], ["expert_probability"], axis=2),
        helper.make_node("Unsqueeze", ["weights", "second"], ["weight_column"]),
        helper.make_node("Mul", ["weight_column", "expert_probability"], ["cells"]),
        helper.make_node("ReduceSum", ["cells", "first"], ["coarse_probability"], keepdims=0),
        helper.make_node("Flatten", ["cells"], ["flat_cells"]),
        helper.make_node("MatMul", ["flat_cells", "class_map"], ["mixed"]),
        helper.make_node("Clip", ["mixed", "least"], ["clipped"]),
        helper.make_node("Log", ["clipped"], ["log_mixed"]),
        helper.make_node("Div", ["log_mixed", "temperature"], ["class_logits"]),
        helper.make_node("Softmax", ["class_logits"], ["class_probability"], axis=1),
        helper.make_node("ReduceSum", ["gate_logits", "first"], ["evidence"], keepdims=0),
        helper.make_node("Sigmoid", ["evidence"], ["confidence"]),
    ]
    weights = {
        "gate": gate,
        "experts": experts.reshape(len(experts), cells),
        "cube": np.array([-1, EXPERTS, kind.coarse]),
        "class_map": class_map.reshape(cells, -1),
        "least": np.float32(MIN_PROBABILITY),
        "temperature": np.float32(kind.temperature),
    }
    outputs = {
        "coarse_probability": ["N", kind.coarse],
        "routing": ["N", EXPERTS],
        "expert_probability": ["N", EXPERTS, kind.coarse],
        "class_probability": ["N", class_map.shape[2]],
        "confidence": ["N"],
    }
    return _model(kind, nodes, weights, outputs)
