from pathlib import Path

import numpy as np
import pytest

from clustnet.bundles.bundle import SHARED_WEIGHTS, Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.bundles.preparation import prepare
from clustnet.errors import UserError
from onnx_export.export import export
from tests.encoders import write_encoder, write_partition, write_photographs
from training.recipe.reading import validated
from training.runs.loop import train

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    photographs = write_photographs(folder / "photographs")
    write_encoder(folder / "tiny", licence="MIT", trained_on="colours")
    content = {
        "method": "embedding_clustnet",
        "data": {"name": "folder", "path": str(photographs)},
        "model": {"encoder": str(folder / "tiny"), "views": 1, "experts": 2, "components": 8, "hidden": 16},
        "partition": {"file": str(write_partition(folder / "partition.csv", photographs)), "epochs": 2},
        "optimisation": {"epochs": 1, "batch_size": 32, "learning_rate": 0.01},
        "vis": 0,
    }
    train(validated(content, "test"), folder / "run")
    return folder / "run"


def test_a_bundle_holds_its_encoder(run: Path, tmp_path: Path) -> None:
    exported = export(run, tmp_path / "bundle")
    bundle = Bundle(tmp_path / "bundle")
    encoder = bundle.manifest.encoder
    assert encoder is not None
    assert (encoder.name, encoder.licence, encoder.trained_on) == ("tiny", "MIT", "colours")
    assert (exported.parity < 1e-5, SHARED_WEIGHTS in bundle.manifest.files) == (True, True)
    assert bundle.manifest.class_names == ("cold/1", "cold/2", "warm/1", "warm/2")
    assert "Scores on such data are too high" in (tmp_path / "bundle/README.md").read_text()
    files = sorted((run.parent / "photographs/test").rglob("*.png"))
    images = np.stack([prepare(file.read_bytes(), bundle.manifest.input) for file in files])
    found = Predictor(bundle, "cpu").predict(images)
    assert found.coarse_probability.argmax(axis=1).tolist() == [0] * 6 + [1] * 6
    guesses = found.class_probability.argmax(axis=1).reshape(2, 6)
    assert (guesses[:, ::2] == guesses[:, :1]).all()
    assert (guesses[:, 1::2] == guesses[:, 1:2]).all()
    assert (guesses[:, 0] != guesses[:, 1]).all()


def test_another_encoder_of_the_name_is_refused(run: Path, tmp_path: Path) -> None:
    tiny = run.parent / "tiny"
    before = {path: path.read_bytes() for path in tiny.iterdir()}
    try:
        write_encoder(tiny, floats=True)
        with pytest.raises(UserError, match="was trained with a different encoder called"):
            export(run, tmp_path / "bundle")
    finally:
        for path, content in before.items():
            path.write_bytes(content)
