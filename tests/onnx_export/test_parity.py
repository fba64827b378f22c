import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from clustnet.bundles.predictor import OUTPUTS, Predictions
from onnx_export import parity
from onnx_export.confidence import Confidence
from onnx_export.fitting import fit
from onnx_export.graphs import Mixture, predict
from onnx_export.parity import TOLERANCE, ParityError, check_parity
from tests.onnx_export.conftest import KINDS
from training.data.data import load_reference, load_split
from training.runs.run_folder import RunFolder

Trained = tuple[Path, Mixture, np.ndarray]


@pytest.fixture
def trained(bundle: Any, run: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Trained]:
    """Give a copy of a bundle, the trained mixture that it was made of, and the images of its parity."""

    def trained(kind: str) -> Trained:
        source, _ = bundle(kind)
        folder = shutil.copytree(source, tmp_path / kind)
        model, recipe = RunFolder(run(kind)).load_network(), RunFolder(run(kind)).recipe()
        train, test = load_split(recipe.data, "train"), load_split(recipe.data, "test")
        fitted = fit(model, recipe.hard, recipe.reference, train, load_reference(recipe.data, train))
        return folder, fitted.mixture(model, recipe.hard), (test or train).images

    return trained


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_agree_with_the_trained_model(trained: Callable[[str], Trained], bundle: Any, kind: str) -> None:
    folder, mixture, images = trained(kind)
    worst = check_parity(folder, mixture, images, predict(mixture, images))
    assert 0 <= worst <= TOLERANCE
    assert worst == pytest.approx(bundle(kind)[1].parity)


def perturb(path: Path, amount: float) -> None:
    """Add ``amount`` to every weight that the graph's largest initializer holds."""
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) + np.float32(amount), largest.name))
    onnx.save(model, path)


@pytest.mark.parametrize("graph", ["mixture.onnx", "gate.onnx", "experts/expert_0.onnx", "experts/expert_2.onnx"])
def test_a_graph_with_other_weights_is_refused(trained: Callable[[str], Trained], graph: str) -> None:
    folder, mixture, images = trained("soft")
    perturb(folder / graph, 1e-3)
    way = "mixture.onnx" if graph == "mixture.onnx" else "gate and experts"
    with pytest.raises(ParityError, match=f"^{way} at batch size 1 differs from torch by .*; no bundle was written"):
        check_parity(folder, mixture, images, predict(mixture, images))


def test_a_conditional_graph_with_other_weights_is_refused(trained: Callable[[str], Trained]) -> None:
    folder, mixture, images = trained("hard")
    perturb(folder / "conditional.onnx", 1e-3)
    with pytest.raises(
        ParityError, match=r"^conditional\.onnx at batch size 1 differs from torch by .*; no bundle was"
    ):
        check_parity(folder, mixture, images, predict(mixture, images))


def test_conditional_graph_and_mixture_may_not_differ(
    trained: Callable[[str], Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is within the tolerance of torch, on different sides."""
    folder, mixture, images = trained("hard")
    for name, shift in (("_mixture_outputs", 0.7), ("_conditional_outputs", -0.7)):
        exact = getattr(parity, name)

        def shifted(*args: Any, exact: Any = exact, shift: float = shift) -> dict[str, np.ndarray]:
            arrays = exact(*args)
            return arrays | {"confidence": arrays["confidence"].astype(float) + shift * TOLERANCE}

        monkeypatch.setattr(parity, name, shifted)
    with pytest.raises(ParityError, match=r"^conditional\.onnx at .* differs from mixture\.onnx by .* in confidence"):
        check_parity(folder, mixture, images, predict(mixture, images))


def test_a_mixture_with_another_class_map_is_refused(trained: Callable[[str], Trained]) -> None:
    folder, mixture, images = trained("soft")
    mixture.class_map = mixture.class_map.flip(1)
    with pytest.raises(ParityError, match="in class_probability"):
        check_parity(folder, mixture, images, predict(mixture, images))


def test_soft_graphs_are_refused_for_a_hard_model(trained: Callable[[str], Trained]) -> None:
    folder, mixture, images = trained("soft")
    soft = predict(mixture, images)
    mixture.hard, mixture.confidence = True, Confidence(torch.zeros(1, 17), torch.eye(17))
    # The confidence differs anyway.
    hard = replace(predict(mixture, images), confidence=soft.confidence)
    with pytest.raises(ParityError, match=r"mixture\.onnx at batch size 1"):
        check_parity(folder, mixture, images, hard)


def test_another_temperature_is_refused(trained: Callable[[str], Trained]) -> None:
    folder, mixture, images = trained("soft")
    mixture.temperature *= 1.01
    with pytest.raises(ParityError, match="in class_probability"):
        check_parity(folder, mixture, images, predict(mixture, images))


def test_another_confidence_is_refused(trained: Callable[[str], Trained]) -> None:
    folder, mixture, images = trained("soft")
    mixture.confidence.means += 0.01
    with pytest.raises(ParityError, match=r"mixture\.onnx at batch size 1 .* in confidence"):
        check_parity(folder, mixture, images, predict(mixture, images))


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_is_nan_is_refused(
    trained: Callable[[str], Trained], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, mixture, images = trained("soft")
    nan = {output: np.full(3, np.nan if output == name else 0.5) for output in OUTPUTS}
    monkeypatch.setattr("onnx_export.parity._mixture_outputs", lambda *_: nan)
    with pytest.raises(ParityError, match=f"in {name}"):
        check_parity(folder, mixture, images[:3], Predictions(**nan))
