from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_export.export import Exported, export
from tests.image_folder import write_coarse_folder
from tests.training.deep import deep_recipe
from tests.training.tiny import tiny_recipe
from training.runs.loop import train

# "colour" has three coarse labels and fine classes; "unnamed" three, in colour, without fine classes and without a test
# split; "clusters" has one; the others have two.
KINDS = ("soft", "hard", "shared", "colour", "unnamed", "clusters", "divided")
# Those whose one expert alone decides.
HARD = ("hard", "unnamed")


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz of noise in CIFAR-10's shape."""
    generator, path = np.random.default_rng(0), tmp_path_factory.mktemp("cifar10") / "noise.npz"
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", 200), ("test", 100)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 10
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of colour images with three coarse labels and nothing else."""
    return write_coarse_folder(tmp_path_factory.mktemp("photographs") / "bars")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, colours: Path, photographs: Path) -> Callable[[str], Path]:
    """Give the folder of a tiny run of one of ``KINDS``; do not change it."""
    folders: dict[str, Path] = {}
    halves = {"0-4": [0, 1, 2, 3, 4], "5-9": [5, 6, 7, 8, 9]}
    deep = {"clusters": deep_recipe(), "divided": deep_recipe(data={"coarse": halves})}
    thirds = {"by air": ["airplane", "bird"], "by road": ["automobile", "truck"], "others": [3, 4, 5, 6, 7, 8]}
    cifar10 = {"data.name": "cifar10", "data.path": str(colours), "data.coarse": thirds}
    folder = {"data.name": "folder", "data.path": str(photographs), "data.size": [16, 16]}
    every = {"data.train_images": None, "data.test_images": None, "optimisation.batch_size": 10}
    keys: dict[str, dict[str, Any]] = {
        "soft": {},
        "hard": {"routing": "hard"},
        "shared": {"model.expert": "shared", "model.experts": 1},
        "colour": {**cifar10, "model.expert": "small_cnn", "model.experts": 2},
        "unnamed": {**folder, **every, "routing": "hard", "model.experts": 2, "optimisation.epochs": 4},
    }

    def run(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp("runs") / kind
            recipe = deep[kind] if kind in deep else tiny_recipe({"optimisation.epochs": 1, **keys[kind]})
            train(recipe, folders[kind])
        return folders[kind]

    return run


@pytest.fixture(scope="session")
def bundle(
    run: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Exported]]:
    """Give the folder of a run's bundle and what the export returned; do not change it."""
    made: dict[str, tuple[Path, Exported]] = {}

    def bundle(kind: str) -> tuple[Path, Exported]:
        if kind not in made:
            out = tmp_path_factory.mktemp("exported") / kind
            made[kind] = out, export(run(kind), out)
        return made[kind]

    return bundle
