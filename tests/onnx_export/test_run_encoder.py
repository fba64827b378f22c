from pathlib import Path

import numpy as np
import pytest
import torch

from clustnet import cli
from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.encoders import find_encoder, open_encoder
from clustnet.errors import UserError
from onnx_export.export import Exported, export
from onnx_export.run_encoder import export_encoder
from tests.encoders import write_photographs
from tests.training.methods.deepcluster.test_method import recipe_of
from training.data.data import load_split
from training.models.inference import route
from training.runs.loop import train
from training.runs.run_folder import RunFolder

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of deepcluster on digits, which are grey."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    train(recipe_of(2, optimisation={"epochs": 1}), folder)
    return folder


@pytest.fixture(scope="module")
def exported(run: Path) -> Exported:
    return export(run, run.parent / "bundle")


def test_a_bundle_answers_as_the_run(run: Path, exported: Exported) -> None:
    assert exported.parity < 1e-4
    images = load_split(RunFolder(run).recipe().data, "test")
    assert images is not None
    routed = route(RunFolder(run).load_network(), images.images, hard=False)
    found = Predictor(Bundle(run.parent / "bundle"), "cpu").predict(images.images)
    np.testing.assert_allclose(found.routing, routed.routing, atol=1e-4)
    np.testing.assert_allclose(found.coarse_probability, routed.coarse_probability, atol=1e-4)
    assert (exported.manifest.method, exported.manifest.experts) == ("deepcluster", 4)


def test_experts_of_one_label_share_their_answer(run: Path, exported: Exported) -> None:
    graphs = [(run.parent / "bundle" / "experts" / f"expert_{index}.onnx").read_bytes() for index in range(4)]
    assert len(set(graphs)) == 2
    assert graphs[0] == graphs[1] != graphs[3] == graphs[2]


def test_a_run_is_an_encoder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=f"has no encoder yet; make it with: clustnet encoder {run}"):
        find_encoder(run)
    assert cli.main(["encoder", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "28x28 pixels -> 16 features" in printed
    assert "trained on: training images of mnist, with the coarse labels low, high" in printed
    # Grey images have three equal channels.
    grey = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    found = open_encoder(run).embed(np.repeat(grey[..., None], 3, axis=3))
    network = RunFolder(run).load_network()
    with torch.no_grad():
        expected = network.encoder(network.normalise(torch.from_numpy(grey))).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--licence", "MIT"], "--licence is for a timm model; leave it out for a run."),
        (["--out", "."], "exists and is not an encoder; choose another --out or remove it."),
    ],
)
def test_wrong_options_are_refused(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["encoder", str(run), *words]) == 2
    assert message in capsys.readouterr().err


def test_timm_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["encoder", "timm:resnet18"]) == 2
    assert "needs --out" in capsys.readouterr().err


def test_the_three_commands_follow_each_other(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--train-images", "120", "--test-images", "60"]
    assert cli.main(["probe", str(run), *small, "--layers", "conv2,embedding", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Accuracy on 60 test images of mnist; learnt from 120 train images of 10 classes." in printed
    assert [line.split()[0] for line in printed.splitlines()[:4]] == ["layer", "conv2", "embedding", "pixels"]
    assert (tmp_path / "probe.csv").read_text().splitlines()[0].startswith("layer,values,linear,neighbours")
    assert (tmp_path / "probe.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["visualize", str(run), "--filters", "2", "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    # Two filters of five layers with two pictures each, and at most four clusters.
    assert 21 <= page.count("data:image/png;base64,") <= 24
    assert cli.main(["probe", str(run), "--layers", "conv9"]) == 2
    assert "There is no layer 'conv9'; choose among conv1" in capsys.readouterr().err


def test_discover_takes_the_encoder_of_a_run(run: Path, tmp_path: Path) -> None:
    export_encoder(run)
    write_photographs(tmp_path / "photographs")
    words = [str(tmp_path / "photographs"), "--encoder", str(run), "--out", str(tmp_path / "found"), "--subtypes", "2"]
    assert cli.main(["discover", *words]) == 0
    assert (tmp_path / "found" / "report.html").is_file()
