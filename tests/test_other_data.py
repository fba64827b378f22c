"""notMNIST and COIL-20 by the commands, from training to evaluation, on made-up files of their form."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clustnet.cli import main
from tests.clustnet.datasets.test_notmnist import write

TINY = ["--model.channels", "[4, 8]", "--optimisation.epochs", "1", "--reference.per_class", "2"]
OBJECTS = {"objects 1-10": list(range(10)), "objects 11-20": list(range(10, 20))}


def _letters(folder: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28))
    return write(folder / "letters", images, np.arange(200) % 10)


def _objects(folder: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (160, 32, 32), dtype=np.uint8)
    np.savez(folder / "coil.npz", X=images, object_id=np.arange(160) // 8 + 1, pose=np.arange(160) % 8)
    return folder / "coil.npz"


@pytest.mark.parametrize(
    ("name", "make", "groups", "test_images"),
    [
        ("notmnist", _letters, {"A-E": list(range(5)), "F-J": list(range(5, 10))}, 40),
        ("coil20", _objects, OBJECTS, 40),
    ],
)
def test_trains_exports_and_is_evaluated(
    tmp_path: Path, name: str, make: Callable[[Path], Path], groups: dict[str, list[int]], test_images: int
) -> None:
    path, run, bundle = make(tmp_path), tmp_path / "run", tmp_path / "bundle"
    data = ["--data.name", name, "--data.path", str(path), "--data.coarse", json.dumps(groups)]
    assert main(["train", "configs/mnist_hard.yaml", "--out", str(run), *data, *TINY]) == 0
    assert main(["export", str(run), "--out", str(bundle)]) == 0
    assert (
        main(["evaluate", "--bundle", str(bundle), "--data", f"{name}:{path}:test", "--out", str(tmp_path / "r")]) == 0
    )
    manifest = json.loads((bundle / "manifest.json").read_text())
    labels = [subtype["coarse_label"] for subtype in manifest["subtypes"]]
    assert {label: [c for c, own in enumerate(labels) if own == label] for label in groups} == groups
    assert manifest["input"]["preparation"] == "fit"
    assert len((tmp_path / "r" / "predictions.csv").read_text().splitlines()) == test_images + 1


def test_coarse_labels_must_group_all_classes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--data.name", "coil20", "--data.path", str(_objects(tmp_path))]
    assert main(["train", "configs/mnist_hard.yaml", "--out", str(tmp_path / "run"), *words]) == 2
    assert "data.coarse lists the class 'object11' under no label" in capsys.readouterr().err
