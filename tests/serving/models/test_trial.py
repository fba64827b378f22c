import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from clustnet.bundles.bundle import MANIFEST, MIXTURE
from clustnet.errors import UserError
from clustnet.files import sha256_of
from serving.models.trial import try_in_process


def with_a_huge_constant(folder: Path) -> None:
    """Add the greatest of 2.4 GB of zeros to the confidence."""
    model = onnx.load(folder / MIXTURE)
    graph = model.graph
    node = next(node for node in graph.node if "confidence" in node.output)
    node.output[list(node.output).index("confidence")] = "alone"
    graph.initializer.append(numpy_helper.from_array(np.array([600_000_000]), "many"))
    graph.node.append(helper.make_node("ConstantOfShape", ["many"], ["zeros"]))
    graph.node.append(helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["alone", "zero"], ["confidence"]))
    onnx.save(model, folder / MIXTURE)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][MIXTURE] = sha256_of(folder / MIXTURE)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_sound_bundle_passes(synthetic_bundle: Path) -> None:
    try_in_process(synthetic_bundle, "all")


def test_a_huge_graph_is_refused(synthetic_bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(synthetic_bundle, tmp_path / "bundle")
    with_a_huge_constant(folder)
    with pytest.raises(UserError, match=r"(?i)memory"):
        try_in_process(folder, "all")


def test_a_graph_that_takes_too_long_is_killed(synthetic_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.models.trial.MAX_SECONDS", 0.01)
    with pytest.raises(UserError, match=r"cannot be served \(it takes over 0\.01 seconds to open and run\)"):
        try_in_process(synthetic_bundle, "all")


def test_the_sentence_of_the_trial_is_told(synthetic_bundle: Path) -> None:
    with pytest.raises(UserError, match="soft routing"):
        try_in_process(synthetic_bundle, "chosen")
