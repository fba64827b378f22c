"""A small random bundle made with onnx alone, so that tests of the format need no training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from clustnet.bundles.bundle import CONDITIONAL, GATE, MANIFEST, MIXTURE, expert_graph
from clustnet.bundles.evaluation_file import EVALUATION
from clustnet.files import sha256_of

PIXELS = 784
EXPERTS, CLASSES = 5, 10
TEMPERATURE, THRESHOLD = 0.5, 0.5
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def write_bundle(folder: Path, seed: int = 0, hard: bool = False, **changes: Any) -> Path:
    """Write a bundle of a random linear gate and experts; ``changes`` replace manifest entries.

    If ``hard``, one expert alone decides, and ``conditional.onnx`` says the same as the mixture.
    """
    generator = np.random.default_rng(seed)
    gate = generator.normal(size=(PIXELS, EXPERTS)).astype(np.float32)
    experts = generator.normal(size=(PIXELS, EXPERTS)).astype(np.float32)
    class_map = generator.dirichlet(np.ones(CLASSES), (EXPERTS, 2))
    (folder / "experts").mkdir(parents=True)
    onnx.save(_gate(gate), folder / GATE)
    for index in range(EXPERTS):
        onnx.save(_expert(experts[:, index : index + 1]), folder / expert_graph(index))
    mixture = _mixture(gate, experts, class_map, hard)
    onnx.save(mixture, folder / MIXTURE)
    if hard:
        onnx.save(_conditional(mixture), folder / CONDITIONAL)
    manifest = _manifest(folder, class_map) | changes
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def made_up_evaluation() -> dict[str, Any]:
    """Return the content of an ``evaluation.json`` that fits the bundle."""
    points = [{"per_class": 1, "mean": 0.9, "least": 0.8, "greatest": 0.95}]
    points += [{"per_class": 10, "mean": 0.97, "least": 0.96, "greatest": 0.98}]
    confusion = 90 * np.eye(CLASSES, dtype=int) + 1
    experts = confusion[:EXPERTS].copy()
    experts[0] += confusion[EXPERTS:].sum(axis=0)  # every image goes to one of them
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
        "ink": {"edges": [0.1], "counts": [50, 50]},
    }


def with_evaluation(folder: Path, **changes: Any) -> Path:
    """Add the evaluation to a bundle; ``changes`` replace its entries."""
    (folder / EVALUATION).write_text(json.dumps(made_up_evaluation() | changes))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][EVALUATION] = sha256_of(folder / EVALUATION)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def _manifest(folder: Path, class_map: np.ndarray) -> dict[str, Any]:
    hard = (folder / CONDITIONAL).exists()
    graphs = [GATE, MIXTURE, *(expert_graph(i) for i in range(EXPERTS)), *([CONDITIONAL] if hard else [])]
    return {
        "schema_version": 2,
        "name": "synthetic",
        "version": "1",
        "method": "clustnet",
        "routing": "hard" if hard else "soft",
        "created": "2026-01-01T00:00:00Z",
        "source_commit": None,
        "config_hash": "0" * 64,
        "opset": 18,
        "input": {"shape": [28, 28], "meaning": "0 = paper, 255 = ink", "preparation": "mnist"},
        "coarse_labels": ["0-4", "5-9"],
        "coarse_groups": [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]],
        "experts": EXPERTS,
        "fine_classes": [str(digit) for digit in range(CLASSES)],
        "class_map": {
            "values": class_map.tolist(),
            "data": "mnist:train",
            "reference_images": 2,
            "reference_indices": [0, 1],
        },
        "calibration": {"temperature": TEMPERATURE, "data": "mnist:train", "images": 100},
        "abstention": {"threshold": THRESHOLD, "share": 0.01, "data": "mnist:train", "images": 50},
        "scores": [],
        "files": {graph: sha256_of(folder / graph) for graph in graphs},
    }


def _flat_input() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["image"], ["pixels"], to=FLOAT),
        helper.make_node("Flatten", ["pixels"], ["rows"]),
        helper.make_node("Div", ["rows", "scale"], ["flat"]),
    ]


def _model(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], outputs: dict[str, list[Any]]
) -> onnx.ModelProto:
    weights = {"scale": np.float32(2550), **weights}
    graph = helper.make_graph(
        [*_flat_input(), *nodes],
        "synthetic",
        [helper.make_tensor_value_info("image", UINT8, ["N", 28, 28])],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _routing() -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", ["flat", "gate"], ["gate_logits"]),
        helper.make_node("Softmax", ["gate_logits"], ["routing"], axis=1),
    ]


def _gate(gate: np.ndarray) -> onnx.ModelProto:
    return _model(_routing(), {"gate": gate}, {"routing": ["N", EXPERTS]})


def _expert(expert: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["flat", "expert"], ["column"]),
        helper.make_node("Sigmoid", ["column"], ["probability"]),
        helper.make_node("ReduceSum", ["probability", "axis"], ["positive_probability"], keepdims=0),
    ]
    model = _model(nodes, {"expert": expert}, {"positive_probability": ["N"]})
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    return model


def _weights(hard: bool) -> list[onnx.NodeProto]:
    """Return the nodes of the experts' weights: the routing, or 1 for its maximum and 0 for the others."""
    if not hard:
        return [helper.make_node("Identity", ["routing"], ["weights"])]
    return [
        helper.make_node("ReduceMax", ["routing", "axis"], ["largest"], keepdims=1),
        helper.make_node("Equal", ["routing", "largest"], ["is_largest"]),
        helper.make_node("Cast", ["is_largest"], ["weights"], to=FLOAT),
    ]


def _conditional(mixture: onnx.ModelProto) -> onnx.ModelProto:
    """Return the mixture without its output of the experts' probabilities; it still computes them all."""
    conditional = onnx.ModelProto()
    conditional.CopyFrom(mixture)
    (unasked,) = (put for put in conditional.graph.output if put.name == "expert_probability")
    conditional.graph.output.remove(unasked)
    return conditional


def _mixture(gate: np.ndarray, experts: np.ndarray, class_map: np.ndarray, hard: bool) -> onnx.ModelProto:
    nodes = [
        *_routing(),
        *_weights(hard),
        helper.make_node("MatMul", ["flat", "experts"], ["expert_logits"]),
        helper.make_node("Sigmoid", ["expert_logits"], ["expert_probability"]),
        helper.make_node("Mul", ["weights", "expert_probability"], ["positive"]),
        helper.make_node("Sub", ["weights", "positive"], ["negative"]),
        helper.make_node("MatMul", ["positive", "positive_map"], ["positive_part"]),
        helper.make_node("MatMul", ["negative", "negative_map"], ["negative_part"]),
        helper.make_node("Add", ["positive_part", "negative_part"], ["mixed"]),
        helper.make_node("Log", ["mixed"], ["log_mixed"]),
        helper.make_node("Div", ["log_mixed", "temperature"], ["class_logits"]),
        helper.make_node("Softmax", ["class_logits"], ["class_probability"], axis=1),
        helper.make_node("ReduceSum", ["gate_logits", "axis"], ["evidence"], keepdims=0),
        helper.make_node("Sigmoid", ["evidence"], ["confidence"]),
        helper.make_node("ReduceSum", ["positive", "axis"], ["positive_probability"], keepdims=0),
    ]
    weights = {
        "gate": gate,
        "experts": experts,
        "negative_map": class_map[:, 0],
        "positive_map": class_map[:, 1],
        "temperature": np.float32(TEMPERATURE),
    }
    outputs = {
        "positive_probability": ["N"],
        "routing": ["N", EXPERTS],
        "expert_probability": ["N", EXPERTS],
        "class_probability": ["N", CLASSES],
        "confidence": ["N"],
    }
    model = _model(nodes, weights, outputs)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    return model
