from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnx_export.export import Exported, export
from tests.training.deep import deep_recipe
from tests.training.tiny import tiny_recipe
from training.runs.loop import train

KINDS = ("soft", "hard", "shared", "colour", "clusters", "parted")


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
def run(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Callable[[str], Path]:
    """Give the folder of a tiny run of one of ``KINDS``; do not change it."""
    folders: dict[str, Path] = {}
    halves = {"0-4": [0, 1, 2, 3, 4], "5-9": [5, 6, 7, 8, 9]}
    deep = {"clusters": deep_recipe(), "parted": deep_recipe(data={"coarse": halves})}
    keys = {
        "soft": {},
        "hard": {"routing": "hard"},
        "shared": {"model.expert": "shared", "model.experts": 1},
        "colour": {"data.name": "cifar10", "data.path": str(colours), "model.expert": "small_cnn", "model.experts": 2},
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
