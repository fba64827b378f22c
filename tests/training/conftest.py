from pathlib import Path

import pytest

from clustnet.datasets import LabelledImages
from tests.training.tiny import tiny_recipe
from training.data.data import load_split
from training.runs.loop import train


@pytest.fixture(scope="session")
def mnist_train() -> LabelledImages:
    return load_split(tiny_recipe({"data.train_images": 600}).data, "train")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run of two epochs; do not change it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_recipe(), folder)
    return folder
