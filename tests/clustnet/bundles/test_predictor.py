import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from clustnet.bundles import predictor as predictor_module
from clustnet.bundles.bundle import CONDITIONAL, MANIFEST, MIXTURE, Bundle
from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, CPU, CUDA, OUTPUTS, Experts, Predictor, providers_for
from clustnet.bundles.routing import coarse_probability, routing_weights
from clustnet.errors import UserError
from clustnet.files import sha256_of
from tests.loops import copying
from tests.synthetic import write_bundle


def images(count: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28, *channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("coarse", "colour", "named", "classes"), [(2, False, True, 10), (1, False, False, 5), (3, True, False, 15)]
)
def test_outputs_have_the_shapes_of_the_bundle(
    tmp_path: Path, coarse: int, colour: bool, named: bool, classes: int
) -> None:
    folder = write_bundle(tmp_path / "bundle", coarse=coarse, colour=colour, named=named)
    predictor = Predictor(Bundle(folder), "cpu")
    shapes = {
        "coarse_probability": (coarse,),
        "routing": (5,),
        "expert_probability": (5, coarse),
        "class_probability": (classes,),
        "confidence": (),
    }
    assert list(shapes) == OUTPUTS
    for count in (0, 1, 3, 4, 9):
        found = predictor.predict(images(count, *([3] if colour else [])), batch_size=4)
        for name, shape in shapes.items():
            output = getattr(found, name)
            assert (output.shape, output.dtype) == ((count, *shape), np.float32)


def test_batches_join_in_order(predictor: Predictor) -> None:
    whole, parts = predictor.predict(images(10)), predictor.predict(images(10), batch_size=3)
    np.testing.assert_allclose(parts.routing, whole.routing, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, 28, 27), np.uint8), r"uint8 images of \[28, 28\], but got uint8 images of \[28, 27\]"),
        (np.zeros((2, 784), np.uint8), r"but got uint8 images of \[784\]"),
        (np.zeros((28, 28), np.uint8), r"but got uint8 images of \[28\]"),
        (np.zeros((2, 28, 28), np.float32), r"but got float32 images of \[28, 28\]"),
    ],
)
def test_images_of_another_kind_are_refused(predictor: Predictor, wrong: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        predictor.predict(wrong)


def test_the_provider_is_reported(predictor: Predictor) -> None:
    assert predictor.provider == CPU
    assert providers_for("cpu") == [CPU]
    # onnxruntime falls back to the CPU, which the provider then reports.
    assert providers_for("cuda")[-1] == CPU


@pytest.mark.parametrize("count", [1, 1025])
def test_gpu_and_cpu_agree(synthetic_bundle: Path, predictor: Predictor, count: int) -> None:
    other = Predictor(Bundle(synthetic_bundle), "cuda")
    if other.provider != CUDA:
        pytest.skip("needs a CUDA device and onnxruntime-gpu")
    on_gpu, on_cpu = other.predict(images(count)), predictor.predict(images(count))
    for name in OUTPUTS:
        np.testing.assert_allclose(getattr(on_gpu, name), getattr(on_cpu, name), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("coarse", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 9])
def test_the_chosen_expert_alone_agrees(tmp_path: Path, coarse: int, count: int) -> None:
    bundle = Bundle(write_bundle(tmp_path / "bundle", hard=True, coarse=coarse))
    whole = Predictor(bundle, "cpu").predict(images(count), batch_size=4)
    alone = Predictor(bundle, "cpu", experts="chosen").predict(images(count), batch_size=4)
    for name in CONDITIONAL_OUTPUTS:
        np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name))
    assert (alone.expert_probability.shape, alone.expert_probability.dtype) == ((count, 0, coarse), np.float32)
    assert whole.expert_probability.shape == (count, 5, coarse)
    chosen = coarse_probability(routing_weights(whole.routing, hard=True), whole.expert_probability)
    np.testing.assert_allclose(alone.coarse_probability, chosen, atol=1e-6)


def put(folder: Path, name: str, file: Path) -> None:
    """Put a file into a bundle in the place of ``name``."""
    shutil.copy(file, folder / name)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = sha256_of(folder / name)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_the_setting_chooses_the_graph(hard_bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(hard_bundle, tmp_path / "bundle")
    other = write_bundle(tmp_path / "other", seed=1, hard=True)
    put(folder, CONDITIONAL, other / CONDITIONAL)
    for experts, wanted, names in (("all", hard_bundle, OUTPUTS), ("chosen", other, CONDITIONAL_OUTPUTS)):
        predictor = Predictor(Bundle(folder), "cpu", experts=experts)  # type: ignore[arg-type]
        expected = Predictor(Bundle(wanted), "cpu").predict(images(3))
        assert list(predictor.outputs) == names
        np.testing.assert_array_equal(predictor.predict(images(3)).class_probability, expected.class_probability)


def test_chosen_experts_need_hard_routing(synthetic_bundle: Path) -> None:
    message = "synthetic has soft routing, where every expert counts; set CLUSTNET_EXPERTS to all"
    with pytest.raises(UserError, match=message):
        Predictor(Bundle(synthetic_bundle), "cpu", experts="chosen")


def test_without_conditional_graph_all_experts_run(tmp_path: Path) -> None:
    bundle = Bundle(write_bundle(tmp_path / "old", routing="hard"))
    assert Predictor(bundle, "cpu").predict(images(2)).expert_probability.shape == (2, 5, 2)
    message = (
        r"old has no conditional\.onnx, which runs only the chosen expert; export the run again, or set CLUSTNET_EXP"
    )
    with pytest.raises(UserError, match=message):
        Predictor(bundle, "cpu", experts="chosen")


@pytest.mark.parametrize("experts", ["all", "chosen"])
@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        (CONDITIONAL, MIXTURE, r"conditional\.onnx has expert_probability .* expects class_probability"),
        (MIXTURE, CONDITIONAL, r"mixture\.onnx has class_probability .* expects expert_probability"),
    ],
)
def test_both_whole_graphs_are_checked(
    hard_bundle: Path, tmp_path: Path, experts: Experts, name: str, other: str, message: str
) -> None:
    folder = shutil.copytree(hard_bundle, tmp_path / "bundle")
    put(folder, name, hard_bundle / other)
    with pytest.raises(UserError, match=message):
        Predictor(Bundle(folder), "cpu", experts=experts)


def without_numbers(graph: onnx.ModelProto) -> None:
    """Divide a black image by zero."""
    scale = next(tensor for tensor in graph.graph.initializer if tensor.name == "scale")
    scale.CopyFrom(numpy_helper.from_array(np.array(0, np.float32), "scale"))


def of_another_shape(graph: onnx.ModelProto) -> None:
    """Leave out the last class, which shows only in the outputs."""
    softmax = next(node for node in graph.graph.node if "class_probability" in node.output)
    softmax.output[0] = "whole"
    graph.graph.node.append(helper.make_node("Compress", ["whole", "kept"], ["class_probability"], axis=1))
    graph.graph.initializer.append(numpy_helper.from_array(np.arange(10) < 9, "kept"))


def endless(graph: onnx.ModelProto) -> None:
    """Copy the pixels again and again."""
    graph.graph.node[0].output[0] = "first_pixels"
    graph.graph.node.insert(
        1, helper.make_node("Loop", ["turns", "always", "first_pixels"], ["pixels"], body=copying())
    )
    graph.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "turns"))
    graph.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_numbers, r"does not run \(its outputs are not all finite numbers\); export it again\.$"),
        (of_another_shape, r"\(its output class_probability has the shape \[2, 9\], not \[2, 10\]\)"),
        (endless, r"does not run \(it takes over 0\.1 seconds for two images\); export it again\.$"),
    ],
)
def test_a_trial_finds_what_loading_misses(
    synthetic_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[onnx.ModelProto], None],
    message: str,
) -> None:
    monkeypatch.setattr(predictor_module, "TRIAL_SECONDS", 0.1)
    folder = shutil.copytree(synthetic_bundle, tmp_path / "bundle")
    graph = onnx.load(folder / MIXTURE)
    damage(graph)
    onnx.save(graph, tmp_path / MIXTURE)
    put(folder, MIXTURE, tmp_path / MIXTURE)
    predictor = Predictor(Bundle(folder), "cpu")
    with pytest.raises(UserError, match=message):
        predictor.try_out()


def test_a_sound_model_passes_its_trial(predictor: Predictor) -> None:
    predictor.try_out()


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_makes_predictions_infinite(predictor: Predictor, name: str, value: float) -> None:
    outputs = predictor.predict(images(3))
    assert outputs.are_finite()
    getattr(outputs, name).flat[-1] = value
    assert not outputs.are_finite()
