from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from clustnet.predictor import CPU, OUTPUTS, open_graph
from onnx_export.confidence import Confidence, route_with_features
from onnx_export.graphs import OPSET, Mixture, predict
from tests.onnx_export.conftest import KINDS
from tests.training.tiny import noise, tiny_recipe
from training.models.mixture import MixtureOfExperts

Put = tuple[str, int, list[int | str]]


def puts(values: Any) -> list[Put]:
    """Return name, type and shape of a graph's inputs or outputs; a free dimension by its name."""
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
        )
        for value in values
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_have_the_documented_inputs_and_outputs(bundle: Any, kind: str) -> None:
    folder, exported = bundle(kind)
    manifest = exported.manifest
    image = [("image", TensorProto.UINT8, ["N", *manifest.input.shape])]
    experts, classes = manifest.experts, len(manifest.fine_classes)
    shapes = dict(zip(OUTPUTS, [["N"], ["N", experts], ["N", experts], ["N", classes], ["N"]], strict=True))
    outputs = {
        "gate.onnx": {"routing": ["N", experts]},
        **{f"experts/expert_{e}.onnx": {"positive_probability": ["N"]} for e in range(experts)},
        "mixture.onnx": shapes,
    }
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx")) == sorted(outputs)
    for name, expected in outputs.items():
        model = onnx.load(folder / name)
        assert puts(model.graph.input) == image
        assert puts(model.graph.output) == [(put, TensorProto.FLOAT, shape) for put, shape in expected.items()]
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET == manifest.opset


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_graph_takes_any_number_of_images(bundle: Any, count: int) -> None:
    folder, _ = bundle("soft")
    (routing,) = open_graph(folder / "gate.onnx", [CPU]).run(None, {"image": noise(count).numpy()})
    assert routing.shape == (count, 3)


@pytest.mark.parametrize("hard", [False, True])
@torch.no_grad()
def test_the_mixture_is_the_documented_sum_over_experts(hard: bool) -> None:
    torch.manual_seed(0)
    model = MixtureOfExperts(tiny_recipe().model, (28, 28), (0.13,), (0.31,)).eval()
    class_map = np.random.default_rng(0).dirichlet(np.ones(10), (3, 2))
    known = Confidence(torch.zeros(1, 19), torch.eye(19))
    found = predict(Mixture(model, torch.from_numpy(class_map), hard, 0.5, known), noise(6).numpy())
    positive, routing, probability, classes, confidence = (array.astype(float) for array in vars(found).values())
    features = route_with_features(model, noise(6).numpy(), hard)[1].numpy()
    np.testing.assert_allclose(confidence, 1 / (1 + (features**2).mean(axis=1)), rtol=1e-4)
    for n in range(6):
        weights = np.eye(3)[routing[n].argmax()] if hard else routing[n]
        plain = np.zeros(10)
        for e in range(3):
            plain += weights[e] * (probability[n, e] * class_map[e, 1] + (1 - probability[n, e]) * class_map[e, 0])
        np.testing.assert_allclose(classes[n], plain**2 / (plain**2).sum(), atol=1e-6)  # temperature 0.5
        np.testing.assert_allclose(positive[n], (weights * probability[n]).sum(), atol=1e-6)
        np.testing.assert_allclose(classes[n].sum(), 1, atol=1e-5)


def test_every_graph_stands_alone(bundle: Any) -> None:
    folder: Path = bundle("soft")[0]
    assert not [path for path in folder.rglob("*") if path.suffix in (".data", ".pb")]
    for path in folder.rglob("*.onnx"):
        assert all(not tensor.external_data for tensor in onnx.load(path, load_external_data=False).graph.initializer)


def test_no_graph_tells_where_it_was_made(bundle: Any) -> None:
    folder, _ = bundle("soft")
    for path in folder.rglob("*.onnx"):
        assert b".py" not in path.read_bytes()
