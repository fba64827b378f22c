from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import version_converter

from clustnet.bundles.bundle import SHARED_WEIGHTS
from clustnet.bundles.predictor import CPU, open_graph
from clustnet.encoders import Embeds, open_encoder
from clustnet.errors import UserError
from onnx_export.front import Front
from onnx_export.graph_files import OPSET
from onnx_export.graphs import write_graph
from tests.encoders import FEATURES, SIDE, write_encoder

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 20, 20, 3), np.uint8)


def composed(folder: Path, encoder: Embeds) -> tuple[torch.nn.Module, Path]:
    """Return a head, and the folder with its graph behind an encoder, twice."""
    torch.manual_seed(0)
    size = encoder.spec.features or 0
    head = torch.nn.Sequential(torch.nn.Linear(size, 40), torch.nn.ReLU(), torch.nn.Linear(40, 3)).eval()
    (folder / "experts").mkdir(parents=True)
    for name in ("gate.onnx", "experts/expert_0.onnx"):
        write_graph(folder / name, head, ["routing"], torch.zeros(2, size))
    Front.of(encoder).put_before(folder)
    return head, folder


def answers(path: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = open_graph(path, [CPU]).run(["routing"], {"image": images})[0]
    return found


@pytest.mark.parametrize("kind", ["bytes", "floats", "both"])
def test_graphs_behind_an_encoder_read_images(tmp_path: Path, kind: str) -> None:
    folders = {name: write_encoder(tmp_path / name, name == "floats", crop=0.8).parent for name in ("bytes", "floats")}
    encoder = open_encoder(f"{folders['bytes']},{folders['floats']}" if kind == "both" else folders[kind], device="cpu")
    head, folder = composed(tmp_path / "bundle", encoder)
    with torch.no_grad():
        expected = head(torch.from_numpy(encoder.embed(IMAGES))).numpy()
    for name in ("gate.onnx", "experts/expert_0.onnx"):
        np.testing.assert_allclose(answers(folder / name, IMAGES), expected, rtol=1e-4, atol=1e-5)
        assert open_graph(folder / name, [CPU]).get_inputs()[0].shape == ["N", 20, 20, 3]


def test_weights_are_stored_once(tmp_path: Path) -> None:
    encoder = open_encoder(write_encoder(tmp_path / "tiny").parent, device="cpu")
    _, folder = composed(tmp_path / "bundle", encoder)
    weights = 4 * (300 * 3 + 300 * FEATURES + FEATURES * 40)
    assert weights <= (folder / SHARED_WEIGHTS).stat().st_size < weights + 200
    assert all(path.stat().st_size < 5000 for path in folder.rglob("*.onnx"))


def test_graphs_have_no_weights_but_the_files(tmp_path: Path) -> None:
    encoder = open_encoder(write_encoder(tmp_path / "tiny").parent, device="cpu")
    _, folder = composed(tmp_path / "bundle", encoder)
    for name, location in (("gate.onnx", SHARED_WEIGHTS), ("experts/expert_0.onnx", Path(SHARED_WEIGHTS).name)):
        graph = onnx.load(folder / name, load_external_data=False).graph
        shared = [part.external_data[0].value for part in graph.initializer if part.external_data]
        assert shared == [location] * 3


def test_a_later_opset_is_converted_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = write_encoder(tmp_path / "tiny")
    model = onnx.load(graph)
    model.opset_import[0].version = 21
    onnx.save(model, graph)
    graph.with_suffix(".json").write_text(f'{{"size": [{SIDE}, {SIDE}], "mean": [0, 0, 0], "std": [1, 1, 1]}}')
    encoder = open_encoder(graph, device="cpu")
    assert Front.of(encoder).model.opset_import[0].version == OPSET

    def refuse(*_: object) -> None:
        raise RuntimeError("no adapter")

    monkeypatch.setattr(version_converter, "convert_version", refuse)
    with pytest.raises(UserError, match=r"has opset 21 and cannot be converted to 18 \(no adapter\)"):
        Front.of(encoder)
