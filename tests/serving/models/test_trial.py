import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from clustnet.bundles.bundle import MANIFEST, MIXTURE
from clustnet.errors import UserError
from clustnet.files import sha256_of
from serving.models.models import Models
from serving.models.trial import try_in_process
from serving.settings import Settings
from tests.synthetic import write_bundle


def add_to_confidence(folder: Path, nodes: list[onnx.NodeProto], **constants: NDArray[Any]) -> None:
    """Add what these nodes give as ``more`` to the confidence."""
    model = onnx.load(folder / MIXTURE)
    graph = model.graph
    node = next(node for node in graph.node if "confidence" in node.output)
    node.output[list(node.output).index("confidence")] = "alone"
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend([*nodes, helper.make_node("Add", ["alone", "more"], ["confidence"])])
    onnx.save(model, folder / MIXTURE)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][MIXTURE] = sha256_of(folder / MIXTURE)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def with_a_huge_constant(folder: Path) -> None:
    """Add the greatest of 2.4 GB of zeros."""
    zeros = helper.make_node("ConstantOfShape", ["many"], ["zeros"])
    greatest = helper.make_node("ReduceMax", ["zeros"], ["more"], keepdims=0)
    add_to_confidence(folder, [zeros, greatest], many=np.array([600_000_000]))


def with_a_giant_node(folder: Path) -> None:
    """Add the greatest value of a product of two integer matrices, a single operation that takes minutes."""
    node = helper.make_node
    nodes = [
        # It depends on the images, so that nothing is computed when the graph is opened.
        node("Cast", ["image"], ["whole_numbers"], to=onnx.TensorProto.INT64),
        node("ReduceMin", ["whole_numbers"], ["darkest"], keepdims=0),
        node("Add", ["sides", "darkest"], ["square"]),
        node("Expand", ["one", "square"], ["ones"]),
        node("MatMul", ["ones", "ones"], ["giant"]),
        node("ReduceMin", ["giant"], ["smallest"], keepdims=0),
        node("Cast", ["smallest"], ["more"], to=onnx.TensorProto.FLOAT),
    ]
    add_to_confidence(folder, nodes, sides=np.array([4000, 4000]), one=np.array(1))


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


@pytest.mark.heavy
def test_a_giant_node_blocks_no_later_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bad", "good"):
        write_bundle(tmp_path / name, name=name)
    models = Models(Settings(bundles=(tmp_path / "bad", tmp_path / "good"), device="cpu"))
    with_a_giant_node(tmp_path / "bad")
    monkeypatch.setattr("serving.models.trial.MAX_SECONDS", 5)
    # Earlier tests of the same process may have left helpers of joblib behind.
    before = psutil.Process().children()
    with pytest.raises(UserError, match="takes over 5 seconds"):
        models.load("bad")
    assert psutil.Process().children() == before
    models.load("good")
    assert set(models.now.models) == {"bad", "good"}


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_workers_trial_ends(synthetic_bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(synthetic_bundle, tmp_path / "bundle")
    with_a_giant_node(folder)
    load = "import sys; from pathlib import Path; from serving.models.trial import try_in_process as t; "
    worker = subprocess.Popen([sys.executable, "-c", f"{load}t(Path(sys.argv[1]), 'all')", str(folder)])
    trial = wait_for_child(psutil.Process(worker.pid))
    worker.kill()
    worker.wait()
    trial.wait(timeout=30)


def wait_for_child(parent: psutil.Process) -> psutil.Process:
    """Return the process that tries the bundle once it computes."""
    while parent.status() != psutil.STATUS_ZOMBIE:
        for child in parent.children():
            if child.memory_info().rss > 200 * 2**20:
                return child
        time.sleep(0.1)
    raise AssertionError("The trial did not begin.")


def test_the_sentence_of_the_trial_is_told(synthetic_bundle: Path) -> None:
    with pytest.raises(UserError, match="soft routing"):
        try_in_process(synthetic_bundle, "chosen")
