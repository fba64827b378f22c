"""Inferences that do not end, against a graph that loops where an image's first pixel is white."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from clustnet.bundles.bundle import MANIFEST, MIXTURE, Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.files import sha256_of
from serving.settings import Settings
from tests.loops import copying
from tests.serving.conftest import client_of


@pytest.fixture
def sometimes_endless(synthetic_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that copies the pixels again and again where the sum of all images is large."""
    folder = shutil.copytree(synthetic_bundle, tmp_path / "bundle")
    model = onnx.load(folder / MIXTURE)
    graph = model.graph
    graph.node[0].output[0] = "first_pixels"
    looping = [
        helper.make_node("ReduceMin", ["first_pixels"], ["darkest"], keepdims=0),
        helper.make_node("Greater", ["darkest", "grey"], ["bright"]),
        helper.make_node("Loop", ["turns", "bright", "first_pixels"], ["pixels"], body=copying()),
    ]
    for place, node in enumerate(looping, 1):
        graph.node.insert(place, node)
    graph.initializer.append(numpy_helper.from_array(np.array(2**62), "turns"))
    graph.initializer.append(numpy_helper.from_array(np.array(0.25, np.float32), "grey"))
    onnx.save(model, folder / MIXTURE)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][MIXTURE] = sha256_of(folder / MIXTURE)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_an_endless_inference_is_ended(sometimes_endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.models.watchdog.SECONDS", 0.1)
    monkeypatch.setattr("serving.models.watchdog.SECONDS_PER_IMAGE", 0)
    Predictor(Bundle(sometimes_endless), "cpu").try_out()
    dark, bright = (np.full((1, 28, 28), value).tolist() for value in (0, 200))
    with client_of(Settings(bundles=(sometimes_endless,), device="cpu")) as client:
        answers = [client.post("/predict", json={"images": images}) for images in (dark, bright, dark)]
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    said = "The model 'synthetic' takes too long for 1 such images; serve another version of it."
    assert answers[1].json() == {"error": said}
