from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, CPU, OUTPUTS, Predictions, open_graph
from onnx_export.confidence import Confidence, route_with_features
from onnx_export.graph_files import OPSET
from onnx_export.graphs import Conditional, Mixture, predict, write_graph
from tests.onnx_export.conftest import HARD, KINDS
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
    experts, coarse, classes = manifest.experts, len(manifest.coarse_labels), len(manifest.subtypes)
    after = ([coarse], [experts], [experts, coarse], [classes], [])
    shapes = {name: ["N", *shape] for name, shape in zip(OUTPUTS, after, strict=True)}
    outputs = {
        "gate.onnx": {"routing": ["N", experts]},
        **{f"experts/expert_{e}.onnx": {"coarse_probability": ["N", coarse]} for e in range(experts)},
        "mixture.onnx": shapes,
    }
    if kind in HARD:
        outputs["conditional.onnx"] = {name: shapes[name] for name in OUTPUTS if name != "expert_probability"}
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


@pytest.mark.parametrize("shape", [(28, 28), (20, 16, 3)])
@pytest.mark.parametrize("labels", [1, 2, 3])
@pytest.mark.parametrize("hard", [False, True])
@torch.no_grad()
def test_the_mixture_is_the_documented_sum(hard: bool, labels: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    mean = (0.13,) * len(shape[2:] or (1,))
    model = MixtureOfExperts(tiny_recipe().model, shape, mean, (0.31,), labels).eval()
    images = noise(6, shape)
    class_map = np.random.default_rng(0).dirichlet(np.ones(10), (3, labels))
    size = 16 + (1 if hard else 3) * (labels - 1)
    known = Confidence(torch.zeros(1, size), torch.eye(size))
    found = predict(Mixture(model, torch.from_numpy(class_map), hard, 0.5, known), images.numpy())
    coarse, routing, probability, classes, confidence = (getattr(found, name).astype(float) for name in OUTPUTS)
    features = route_with_features(model, images.numpy(), hard)[1].numpy()
    np.testing.assert_allclose(confidence, 1 / (1 + (features**2).mean(axis=1)), rtol=1e-4)
    for n in range(6):
        weights = np.eye(3)[routing[n].argmax()] if hard else routing[n]
        plain = np.zeros(10)
        for e in range(3):
            logits = model(images[n : n + 1]).expert_logit[0, e]
            free = {1: torch.zeros(1), 2: torch.cat([torch.zeros(1), logits]), 3: logits}[labels]
            np.testing.assert_allclose(probability[n, e], free.softmax(dim=0).numpy(), atol=1e-6)
            for k in range(labels):
                plain += weights[e] * probability[n, e, k] * class_map[e, k]
        # The square is the temperature of 0.5.
        np.testing.assert_allclose(classes[n], plain**2 / (plain**2).sum(), atol=1e-6)
        np.testing.assert_allclose(coarse[n], weights @ probability[n], atol=1e-6)
        np.testing.assert_allclose(classes[n].sum(), 1, atol=1e-5)


def test_every_graph_stands_alone(bundle: Any) -> None:
    folder: Path = bundle("soft")[0]
    assert not [path for path in folder.rglob("*") if path.suffix in (".data", ".pb")]
    for path in folder.rglob("*.onnx"):
        assert all(not tensor.external_data for tensor in onnx.load(path, load_external_data=False).graph.initializer)


def test_no_graph_shows_where_it_was_made(bundle: Any) -> None:
    folder, _ = bundle("soft")
    for path in folder.rglob("*.onnx"):
        assert b".py" not in path.read_bytes()


@dataclass(frozen=True)
class Spread:
    """A mixture of hard routing whose five experts are all in use, and its conditional graph.

    Args:
        mixture: in torch.
        session: the graph in onnxruntime.
        images: uint8 [257, ...].
        expected: torch's predictions for them.
    """

    mixture: Mixture
    session: Any
    images: np.ndarray
    expected: Predictions

    @property
    def chosen(self) -> np.ndarray:
        """The expert of each image, [257]."""
        return self.expected.routing.argmax(axis=1)

    def check(self, which: np.ndarray) -> None:
        """Compare the graph with torch on some of the images."""
        found = self.session.run(CONDITIONAL_OUTPUTS, {"image": self.images[which]})
        for name, values in zip(CONDITIONAL_OUTPUTS, found, strict=True):
            np.testing.assert_allclose(values, getattr(self.expected, name)[which], atol=1e-5, err_msg=name)


@pytest.fixture(
    scope="module", params=[("linear", 2), ("small_cnn", 3), ("large_cnn", 2), ("shared", 2), ("linear", 1)]
)
def spread(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Spread:
    torch.manual_seed(0)
    expert, labels = request.param
    shape = (32, 32, 3) if expert == "small_cnn" else (28, 28)
    keys = {"model.expert": expert, "model.experts": 5}
    mean = (0.13,) * len(shape[2:] or (1,))
    model = MixtureOfExperts(tiny_recipe(keys).model, shape, mean, (0.31,), labels).eval()
    images = noise(257, shape)
    with torch.no_grad():
        routed = model.head(model.encoder(model.normalise(images)))
        # Without it one expert takes nearly all noise.
        model.head.bias -= routed.mean(dim=0)
    known = Confidence(torch.zeros(1, 15 + labels), torch.eye(15 + labels))
    class_map = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(10), (5, labels)))
    mixture = Mixture(model, class_map, True, 0.5, known).eval()
    path = tmp_path_factory.mktemp("conditional") / "conditional.onnx"
    write_graph(path, Conditional(mixture, model), CONDITIONAL_OUTPUTS, torch.zeros((2, *shape), dtype=torch.uint8))
    return Spread(mixture, open_graph(path, [CPU]), images.numpy(), predict(mixture, images.numpy()))


def test_the_conditional_graph_answers_as_the_mixture(spread: Spread) -> None:
    assert np.bincount(spread.chosen, minlength=5).min() > 5
    spread.check(np.arange(257))
    for n in range(10):
        spread.check(np.array([n]))
    spread.check(np.array([], int))


@pytest.mark.parametrize("absent", range(5))
def test_an_expert_may_have_no_image_or_all(spread: Spread, absent: int) -> None:
    spread.check(np.flatnonzero(spread.chosen != absent))
    spread.check(np.flatnonzero(spread.chosen == absent))


@given(which=st.lists(st.integers(0, 256), max_size=20))
def test_batches_in_any_order_are_answered_rightly(spread: Spread, which: list[int]) -> None:
    spread.check(np.array(which, int))


@torch.no_grad()
def test_each_expert_runs_for_its_own_images(spread: Spread) -> None:
    counts: list[int] = []
    model = spread.mixture.model
    assert isinstance(model, MixtureOfExperts)
    hooks = [
        expert.register_forward_hook(lambda _, evidence, __: counts.append(len(evidence[0])))
        for expert in model.experts
    ]
    Conditional(spread.mixture, model)(torch.from_numpy(spread.images))
    for hook in hooks:
        hook.remove()
    # An expert that knows one coarse label only need not run at all.
    assert counts == (np.bincount(spread.chosen, minlength=5).tolist() if model.label_count > 1 else [])
