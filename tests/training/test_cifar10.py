import os
from pathlib import Path

import numpy as np
import pytest

from tests.training.tiny import tiny_recipe
from training.runs.loop import train
from training.runs.run_folder import RunFolder

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = Path(os.environ.get("CLUSTNET_TEST_DATA") or SHARED) / "cifar10" / "cifar10_jpeg.npz"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An .npz in CIFAR-10's shape whose classes 5 to 9 are brighter than the others."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 200), ("test", 100)):
        labels = np.arange(count) % 10
        light = np.where(labels >= 5, 130, 0)[:, None, None, None]
        arrays[f"x_{split}"] = (generator.integers(0, 120, (count, 32, 32, 3)) + light).astype(np.uint8)
        arrays[f"y_{split}"] = labels
    np.savez(tmp_path / "cifar10.npz", **arrays)
    return tmp_path / "cifar10.npz"


@pytest.mark.parametrize("keys", [{"model.expert": "shared"}, {"model.expert": "small_cnn", "pretraining.epochs": 1}])
def test_colour_images_are_learnt(archive: Path, tmp_path: Path, keys: dict[str, object]) -> None:
    keys = {"data.coarse": {"dark": [0, 1, 2, 3, 4], "light": [5, 6, 7, 8, 9]}} | keys
    recipe = tiny_recipe({"data.name": "cifar10", "data.path": str(archive), "optimisation.epochs": 4, **keys})
    rows = train(recipe, tmp_path / "run")
    assert rows[-1]["images"] == 100
    assert rows[-1]["coarse_accuracy"] > 0.9


@pytest.mark.skipif(not REAL.is_file(), reason=f"needs {REAL.name} in $CLUSTNET_TEST_DATA/cifar10")
def test_real_photographs_train_and_are_scored(tmp_path: Path) -> None:
    coarse = {"vehicle": ["airplane", "automobile", 8, 9], "animal": [2, 3, 4, 5, 6, 7]}
    recipe = tiny_recipe(
        {
            "data.name": "cifar10",
            "data.path": str(REAL),
            "data.coarse": coarse,
            "data.train_images": 600,
            "model.expert": "small_cnn",
            "optimisation.epochs": 4,
        }
    )
    rows = train(recipe, tmp_path / "run")
    tests = [row for row in rows if row["split"] == "test"]
    # Always "animal" is right in 0.6.
    assert tests[-1]["coarse_accuracy"] > 0.65
    assert {"group_accuracy/vehicle", "group_accuracy/animal"} <= tests[-1].keys()
    assert RunFolder(tmp_path / "run").last_epoch() == 4
